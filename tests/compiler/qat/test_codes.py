"""The network's forward gives the integer program's codes, and the written model the network's."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.qat.network import QuantizedNetwork
from edgekiln.compiler.qat.numbers import LearnedWeight
from edgekiln.compiler.qat.values import QuantizedValue
from edgekiln.compiler.qat.write import to_model
from edgekiln.runtime import host
from edgekiln.runtime.errors import UnsupportedError
from edgekiln.targets import profile
from tests.compiler.qat.programs import TARGET, differing
from tests.compiler.qdq_models import QdqModel
from tests.e2e.compiled_models import residual_net

pytestmark = pytest.mark.skipif(
    not set(profile.load(TARGET).features) <= host.cpu_flags(), reason=f"no {TARGET}"
)


@st.composite
def mixed_nets(draw: st.DrawFn) -> tuple[QdqModel, str]:
    """An image through convolutions of all kinds, pools, sums, concatenations and gates, to the
    logits of a softmax.
    """
    m = QdqModel(seed=draw(st.integers(0, 2**16)), dtype=draw(st.sampled_from(["int8", "uint8"])))
    low = {"int8": -128, "uint8": 0}[m.dtype]
    zero, scale = st.integers(low, low + 255), st.sampled_from([0.019, 0.11, 0.73])
    c, h, w = draw(st.integers(1, 20)), draw(st.integers(4, 13)), draw(st.integers(4, 13))
    x = m.q(m.input("x", draw(st.integers(1, 2)), c, h, w), scale=0.02, zero=draw(zero))
    for i in range(draw(st.integers(1, 3))):
        depthwise, oc = draw(st.booleans()), draw(st.sampled_from([3, 8, 17, 24]))
        oc = c if depthwise else oc
        conv = m.conv(
            x, oc, 1 if depthwise else c, 3, 3, out=f"conv{i}",
            pads=[draw(st.integers(0, 1)), 1, 1, draw(st.integers(0, 1))],
            group=c if depthwise else 1,
        )  # fmt: skip
        c = oc
        if draw(st.booleans()):
            six = m.const(6, "float32")
            conv = m.op("Clip", conv, m.const(0, "float32"), six, out=f"relu6{i}")
        y = m.q(conv, draw(scale), draw(zero))
        match draw(
            st.sampled_from(["add", "mul", "concat", "max", "average", "swish", "silu", "mish"])
        ):
            case "add":
                z = m.q(m.conv(y, c, c, 1, 1, out=f"z{i}"), draw(scale), draw(zero))
                operands = draw(st.permutations([y, z]))
                y = m.q(m.op("Add", *operands, out=f"add{i}"), draw(scale), draw(zero))
            case "mul":
                pool = m.q(m.op("GlobalAveragePool", y, out=f"gap{i}"), draw(scale), draw(zero))
                y = m.q(m.op("Mul", y, pool, out=f"mul{i}"), draw(scale), draw(zero))
            case "concat":
                z = m.q(m.conv(y, 5, c, 1, 1, out=f"z{i}"), draw(scale), draw(zero))
                y = m.q(m.op("Concat", y, z, out=f"cat{i}", axis=1), draw(scale), draw(zero))
                c += 5
            case "max":
                pads = [1, 1, 1, 1]
                y = m.op("MaxPool", y, out=f"max{i}", kernel_shape=[3, 3], pads=pads)
            case "average":
                pads, counted = [1, 0, 1, 0], draw(st.integers(0, 1))
                pool = m.op(
                    "AveragePool", y, out=f"average{i}", kernel_shape=[2, 3], pads=pads,
                    count_include_pad=counted,
                )  # fmt: skip
                y = m.q(pool, draw(scale), draw(zero))
            case "swish":
                gate = m.op("HardSigmoid", y, out=f"gate{i}", alpha=1 / 6, beta=0.5)
                gated = m.op("Mul", y, m.q(gate, 1 / 255, low), out=f"swish{i}")
                y = m.q(gated, draw(scale), draw(zero))
            case "silu":  # one table
                gate = m.op("Sigmoid", y, out=f"gate{i}")
                y = m.q(m.op("Mul", gate, y, out=f"silu{i}"), draw(scale), draw(zero))
            case "mish":
                half = m.const(0.5, "float32")
                soft = m.op("Softplus", m.op("Mul", y, half, out=f"half{i}"), out=f"soft{i}")
                gate = m.op("Tanh", soft, out=f"gate{i}")
                y = m.q(m.op("Mul", y, gate, out=f"mish{i}"), draw(scale), draw(zero))
        x = y
    pool = m.q(m.op("GlobalAveragePool", x, out="pool"), draw(scale), draw(zero))
    weight, _ = m.weight(10, c)
    logits = m.op("Gemm", m.op("Flatten", pool, out="flat"), weight, out="logits", transB=1)
    return m, m.op("Softmax", logits, out="answer", axis=1)


@given(net=mixed_nets())
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_code_of_a_random_network_is_the_programs(
    tmp_path: Path, net: tuple[QdqModel, str]
) -> None:
    builder, out = net
    path = builder.save(tmp_path / "net.onnx", out, "logits")
    found = differing(path, QuantizedNetwork(io.load_model(path)))
    # A softmax of floats is no integer operation; torch's and the program's differ by an ulp.
    found.pop("answer", None)
    assert found["logits"] == 0
    assert {name: count for name, count in found.items() if count} == {}


@pytest.mark.parametrize("function", ["silu", "mish"])
def test_a_function_in_several_nodes_is_the_programs_table(tmp_path: Path, function: str) -> None:
    m = QdqModel()
    y = m.q(m.conv(m.q(m.input("x", 1, 3, 9, 9)), 5, 3, 3, 3, out="c"), 0.073, -7)
    if function == "silu":
        gate = m.op("Sigmoid", y, out="g")
    else:
        gate = m.op("Tanh", m.op("Softplus", y, out="s"), out="g")
    z = m.q(m.op("Mul", gate, y, out="f"), 0.031, -90)
    out = m.q(m.conv(z, 4, 5, 1, 1, out="d"), 0.21, 4)
    path = m.save(tmp_path / "net.onnx", out, "d_q")
    found = differing(path, QuantizedNetwork(io.load_model(path)))
    assert found["f_q"] == found["d_q"] == 0
    assert not any(found.values())


def test_the_written_model_has_the_codes_of_the_network_that_was_trained(tmp_path: Path) -> None:
    path = residual_net(tmp_path / "net.onnx")
    network = QuantizedNetwork(io.load_model(path))
    with torch.no_grad():
        draw = torch.Generator().manual_seed(0)
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    trained = tmp_path / "trained.onnx"
    onnx.save(to_model(network), trained)
    assert not any(differing(trained, network).values())
    # And so has a network made of that file, which knows nothing of the training.
    again = QuantizedNetwork(io.load_model(trained))
    assert not any(differing(trained, again).values())
    onnx.checker.check_model(io.load_model(trained), full_check=True)
    before, after = (stored(io.load_model(file)) for file in (path, trained))
    assert any((before[name] != after[name]).any() for name in before)


def stored(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}


def test_an_untrained_network_is_written_as_it_was_read(tmp_path: Path) -> None:
    model = io.load_model(residual_net(tmp_path / "net.onnx"))
    before, after = stored(model), stored(to_model(QuantizedNetwork(model)))
    assert [name for name in before if (before[name] != after[name]).any()] == []


def test_sums_that_float32_does_not_hold_are_exact(tmp_path: Path) -> None:
    """512 channels of 3×3 weights, all at their ends: sums of up to 149 million."""
    m = QdqModel(seed=1)
    x = m.q(m.input("x", 1, 512, 4, 4), scale=0.02, zero=-128)
    values = np.where(m.rng.random((8, 512, 3, 3)) < 0.9, 127, -127)
    scales = m.const(np.full(8, 0.003), "float32")
    weight = m.op("DequantizeLinear", m.const(values, "int8"), scales, out="w", axis=0)
    y = m.op("Conv", x, weight, out="y", pads=[1, 1, 1, 1])
    path = m.save(tmp_path / "net.onnx", m.q(y, scale=64.1, zero=-128), "y_q")
    network = QuantizedNetwork(io.load_model(path))
    assert differing(path, network) == {"x_q": 0, "y_q": 0, "y_dq": 0}


@pytest.mark.parametrize("own", [True, False], ids=["its own layer", "read twice"])
def test_a_sum_rounds_as_the_program_does_whichever_operand_it_leads_with(
    tmp_path: Path, own: bool
) -> None:
    """A convolution that the sum alone reads is added to before it is stored. A sixth and a third
    of the steps are added, so that the roundings decide every sum that is half a step.
    """
    m = QdqModel(seed=5)
    x = m.q(m.input("x", 1, 8, 24, 24), scale=0.2, zero=3)
    conv = m.q(m.conv(x, 8, 8, 1, 1, out="conv"), scale=0.1, zero=-9)
    y = m.q(m.op("Add", x, conv, out="sum"), scale=0.6, zero=4)
    outputs = (y,) if own else (y, m.op("MaxPool", conv, out="max", kernel_shape=[2, 2]))
    path = m.save(tmp_path / "net.onnx", *outputs)
    network = QuantizedNetwork(io.load_model(path))
    found = differing(path, network)
    assert found["sum_q"] == 0
    assert not any(found.values())
    assert [node.leading for node in network.graph.nodes if node.proto.op_type == "Add"] == [own]


def test_moves_take_the_codes_along(tmp_path: Path) -> None:
    m = QdqModel(seed=2)
    x = m.q(m.input("x", 1, 8, 4, 6), scale=0.02, zero=7)
    deep = m.op("DepthToSpace", x, out="deep", blocksize=2)
    part = m.op(
        "Slice", deep, m.const([1, 2], "int64"), m.const([8, 11], "int64"),
        m.const([2, 3], "int64"), m.const([1, 2], "int64"), out="part",
    )  # fmt: skip
    wide = m.op("Pad", part, m.const([0, 0, 0, 1, 0, 0, 2, 0], "int64"), out="wide")
    turned = m.op("Transpose", wide, out="turned", perm=[0, 2, 3, 1])
    rows = m.op("Reshape", turned, m.const([0, -1, 2], "int64"), out="rows")
    path = m.save(tmp_path / "net.onnx", m.q(rows, 0.02, 7), "rows_q")
    assert differing(path, QuantizedNetwork(io.load_model(path)))["rows_q"] == 0


def test_an_operator_without_a_trained_form_is_refused_by_name(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 4, 6), scale=0.02)
    soft = m.q(m.op("Softmax", x, out="soft"), 1 / 256, -128)
    path = m.save(tmp_path / "net.onnx", soft)
    model = io.load_model(path)
    model.graph.node[2].name = "attention"
    network = QuantizedNetwork(model)
    with pytest.raises(UnsupportedError, match=r"Softmax \('attention'\) has no form for") as found:
        network(torch.zeros(1, 4, 6))
    assert found.value.hint == "quantize without --qat-epochs"


def test_scales_learn_as_learned_step_sizes_do() -> None:
    """∂(s·round(v/s))/∂s = round(v/s) − v/s inside of the range, and its ends outside."""
    from edgekiln.compiler.qat.elementwise import of_float

    x = torch.tensor([-1000.0, -0.7, 0.26, 0.9, 1000.0])
    scale = torch.tensor(0.5, requires_grad=True)
    codes = of_float(x).quantized(scale, 28, (-156.0, 99.0))
    assert isinstance(codes, QuantizedValue)
    slopes = [
        torch.autograd.grad(value, scale, retain_graph=True)[0].item()
        for value in codes.steps * codes.scale
    ]
    assert slopes == pytest.approx([-156.0, -1.0 + 1.4, 1.0 - 0.52, 2.0 - 1.8, 99.0], abs=1e-5)


@pytest.mark.parametrize(("bits", "largest"), [(8, 127), (7, 63)])
def test_codes_of_as_many_bits_begin_as_they_are(bits: int, largest: int) -> None:
    rng = np.random.default_rng(bits)
    codes = rng.integers(-largest, largest + 1, (5, 3, 2, 2)).astype(np.int8)
    codes[0, 0, 0, 0] = largest
    scale = rng.random(5, np.float32)
    found = LearnedWeight(codes, scale, 0, None, bits)()
    np.testing.assert_array_equal(found.steps.detach().numpy(), codes)
    np.testing.assert_array_equal(found.scale.detach().numpy(), scale)

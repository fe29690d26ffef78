import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.io import Meta
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization.prepare import prepare
from edgekiln.runtime.errors import UnsupportedError
from tests.compiler.float_models import make, residual

CONV_BN = """
    c = Conv <kernel_shape = [3, 3]> (x, w)
    y = BatchNormalization (c, g, b, m, v)
"""


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_batch_norm_is_folded_into_the_convolution():
    model = make(
        CONV_BN,
        {"w": (4, 3, 3, 3), "g": (4,), "b": (4,), "m": (4,)},
        x="N, 3, 8, 8",
        y="N, 4, 6, 6",
        constants={"v": np.linspace(0.5, 2, 4).astype(np.float32)},
    )
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    ready = prepare(model)
    assert operators(ready) == ["Conv"]
    np.testing.assert_allclose(
        Session(ready, optimize=True)(x)[0], Session(model, optimize=True)(x)[0], atol=1e-5
    )


def test_an_old_opset_is_raised_until_scales_can_be_per_channel():
    ready = prepare(residual(opset=11))
    assert [(entry.domain, entry.version) for entry in ready.opset_import] == [("", 13)]
    onnx.checker.check_model(ready, full_check=True)


def test_a_newer_opset_stays():
    assert [entry.version for entry in prepare(residual(opset=17)).opset_import] == [17]


def test_a_mean_over_the_image_becomes_pooling():
    model = make(
        "y = ReduceMean <axes = [2, 3], keepdims = 0> (x)", {}, x="N, 3, 8, 8", y="N, 3", opset=13
    )
    assert operators(prepare(model)) == ["GlobalAveragePool", "Flatten"]


def test_nodes_without_a_name_get_their_tensors():
    model = residual()
    for node in model.graph.node:
        node.name = "same" if node.op_type == "Relu" else ""
    names = [node.name for node in prepare(model).graph.node]
    assert len(set(names)) == len(names)
    assert all(names)


def test_a_tensor_s_name_that_another_node_has_gives_no_name_twice():
    model = residual()
    model.graph.node[0].name, model.graph.node[-1].name = model.graph.node[-1].output[0], ""
    names = [node.name for node in prepare(model).graph.node]
    assert len(set(names)) == len(names)


def test_a_softmax_of_an_old_opset_is_raised():
    model = make("y = Softmax <axis = 1> (x)", {}, x="N, 3, 8, 8", y="N, 3, 8, 8", opset=11)
    ready = prepare(model)
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    (found,), (exact,) = (Session(m, optimize=False)(x) for m in (ready, model))
    np.testing.assert_allclose(found, exact, rtol=1e-5)


@pytest.mark.parametrize("constant", ["initializer", "node"])
def test_an_old_resize_places_its_pixels_as_before(constant):
    factors = np.array([1, 1, 2, 1.5], np.float32)
    first = "" if constant == "initializer" else "f = Constant <value = float[4] {1, 1, 2, 1.5}> ()"
    given = {"f": factors} if constant == "initializer" else {}
    model = make(
        f'{first}\ny = Resize <mode = "linear"> (x, f)', {}, x="N, 3, 8, 8", y="N, 3, 16, 12",
        opset=10, constants=given,
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    (found,), (exact,) = (Session(m, optimize=False)(x) for m in (prepare(model), model))
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)


def test_any_number_but_zero_transposes():
    model = make(f"y = Gemm <transB = {-(2**31)}> (x, w)", {"w": (10, 6)}, x="N, 6")
    (gemm,) = prepare(model).graph.node
    assert onnx.helper.get_node_attr_value(gemm, "transB") == 1


def test_metadata_stays():
    model = residual()
    io.write_meta(model, Meta(data="digits", task="classification"))
    assert io.read_meta(prepare(model)) == Meta(data="digits", task="classification")


def test_the_same_model_gives_the_same_bytes():
    one, two = (prepare(residual()).SerializeToString(deterministic=True) for _ in "12")
    assert one == two


def test_a_quantized_model_is_refused():
    model = make(
        "q = QuantizeLinear (x, s)\n y = DequantizeLinear (q, s)",
        {},
        x="N, 4",
        y="N, 4",
        constants={"s": np.float32(1)},
    )
    with pytest.raises(UnsupportedError) as caught:
        prepare(model)
    assert caught.value.message == "the model is quantized already"
    assert caught.value.hint == "give the float model, or go on with: edgekiln compile"
    assert caught.value.exit_code == 4


def test_an_output_that_is_an_input_is_refused():
    model = make("y = Relu (x)", {}, x="N, 4", y="N, 4")
    model.graph.output.append(model.graph.input[0])
    with pytest.raises(UnsupportedError, match="the model's output 'x' is an input"):
        prepare(model)


def test_open_sizes_are_refused():
    with pytest.raises(UnsupportedError, match=r"\(N, 3, H, W\): only the batch may be open"):
        prepare(residual(x="N, 3, H, W"))


def test_an_operator_that_nobody_knows_is_named():
    model = residual()
    model.opset_import.append(onnx.helper.make_opsetid("my.company", 1))
    model.graph.node[1].domain = "my.company"
    model.graph.node[1].op_type = "Magic"
    with pytest.raises(UnsupportedError) as caught:
        prepare(model)
    assert caught.value.message == "operator Magic ('ra') of my.company is unknown"


@pytest.mark.parametrize("kept", ["initializer", "node"])
def test_a_dropout_that_trains_is_refused_before_onnxruntime_drops_it(kept: str) -> None:
    def dropout(training: bool) -> onnx.ModelProto:
        body = "r = Abs (x)\n d = Dropout (r, ratio, {})\n y = Relu (d)"
        if kept == "node":
            value = f"t = Constant <value = bool {{{int(training)}}}> ()"
            return make(
                f"{value}\n{body.format('t')}", {}, x="1, 4", y="1, 4",
                constants={"ratio": np.float32(0.5)},
            )  # fmt: skip
        return make(
            body.format("t"), {}, x="1, 4", y="1, 4",
            constants={"ratio": np.float32(0.5), "t": np.bool_(training)},
        )  # fmt: skip

    assert "Dropout" not in operators(prepare(dropout(False)))
    with pytest.raises(UnsupportedError) as caught:
        prepare(dropout(True))
    assert caught.value.message == "operator Dropout ('d'): its operand 2 ('t') is not supported"

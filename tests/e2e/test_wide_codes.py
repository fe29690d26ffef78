"""Activations in 16 bits: from the option to the program, whose sums are exact."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.passes.pipeline import lower_graph
from edgekiln.compiler.quantization import qcheck
from edgekiln.compiler.stages.quantize import QuantizeStage
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler import quantizing, recurrent_models, skewed
from tests.compiler.float_models import make, residual
from tests.compiler.lowering import programs
from tests.e2e.compiled_models import build, check

# What 16 bits are kept for, and what a program computes of it.
INT16 = onnx.TensorProto.INT16


def wide(path: Path, model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    io.save_model(model, path)
    made, _, notes = quantizing.quantize(path, activation_bits=16)
    return made, notes


def zero_points(model: onnx.ModelProto) -> dict[str, int]:
    """The type of each quantized activation's codes."""
    types = {weight.name: weight.data_type for weight in model.graph.initializer}
    return {
        node.output[0]: types[node.input[2]]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    }


def test_all_activations_have_16_bits_and_the_signal_is_that_of_the_weights(
    tmp_path: Path,
) -> None:
    made, notes = wide(tmp_path / "net.onnx", skewed.fitted())
    assert set(zero_points(made).values()) == {INT16}
    assert qcheck.inspect(made).violations == ()
    (note,) = (each for each in notes if each.startswith("activations of"))
    with_16, with_8 = (float(part.split("SQNR ")[1].split()[0]) for part in note.split(";"))
    assert "activations of 16 bits accuracy" in note
    assert with_16 > with_8 + 3


def test_where_no_activation_can_have_16_bits_a_note_says_so(tmp_path: Path) -> None:
    """What the caller gives is clipped by nothing, and beside such a bias it would be."""
    model = make(
        "c = Conv (x, w, b)\n y = Flatten (c)", {"w": (4, 3, 1, 1), "b": (4,)},
        x="1, 3, 32, 32", y="1, 4096",
    )  # fmt: skip
    (bias,) = (each for each in model.graph.initializer if each.name == "b")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(4, 1e6, np.float32), "b"))
    made, notes = wide(tmp_path / "net.onnx", model)
    assert INT16 not in zero_points(made).values()
    assert any(note.startswith("no activations of 16 bits: ") for note in notes)
    assert not any(note.startswith("activations of") for note in notes)


def test_each_layer_of_the_program_is_onnx_runtimes_but_for_ties(
    tmp_path: Path, target: profile.TargetProfile
) -> None:
    for name, model in (("skewed", skewed.fitted()), ("residual", residual(x="1, 3, 32, 32"))):
        wide(tmp_path / f"{name}.onnx", model)
        int8 = (tmp_path / "int8.onnx").rename(tmp_path / f"{name}.int8.onnx")
        result = check(int8, target)
        assert len(result.integer_layers) >= 4
        spec = AotRunner.open(int8.with_suffix(f".{target.name}.lib")).spec
        # What functions there are have no table: the kernels of sums end with them.
        assert {layer.op for layer in spec.layers} <= {
            "quantize", "conv2d", "depthwise_conv2d", "max_pool", "global_avg_pool", "dense",
        }  # fmt: skip


def test_what_a_relu_lets_through_is_all_that_there_is(tmp_path: Path) -> None:
    model = make(
        "c = Conv (x, w, b)\n r = Relu (c)\n y = Flatten (r)", {"w": (4, 3, 1, 1), "b": (4,)},
        x="1, 3, 32, 32", y="1, 4096",
    )  # fmt: skip
    wide(tmp_path / "net.onnx", model)
    x = np.random.default_rng(0).normal(0, 1, (1, 3, 32, 32)).astype(np.float32)
    (found,) = programs.ours(tmp_path / "int8.onnx", x)
    (expected,) = programs.reference(tmp_path / "net.onnx", x)
    assert found.min() == 0 == expected.min()


@pytest.mark.parametrize(
    "between", ["r = Relu (c)", "m = Constant <value_float = 6.0> ()\n r = Clip (c, zero, m)"]
)
@pytest.mark.parametrize("function", ["HardSwish", "Sigmoid", "Gelu"])
def test_what_a_relu_lets_through_is_all_that_a_function_reads(
    tmp_path: Path, between: str, function: str
) -> None:
    model = make(
        f"c = Conv (x, w, b)\n {between}\n h = {function} (r)\n d = Conv (h, v)\n y = Flatten (d)",
        {"w": (4, 3, 1, 1), "b": (4,), "v": (2, 4, 1, 1)}, x="1, 3, 32, 32", y="1, 2048",
        constants={"zero": np.zeros((), np.float32)},
    )  # fmt: skip
    wide(tmp_path / "net.onnx", model)
    x = np.random.default_rng(0).uniform(-0.7, 0.7, (1, 3, 32, 32)).astype(np.float32)
    (found,) = programs.ours(tmp_path / "int8.onnx", x)
    (expected,) = programs.reference(tmp_path / "net.onnx", x)
    noise = np.square(found - expected).mean()
    assert 1e3 * noise < np.square(expected).mean()  # what 8 bits of the weights leave


@pytest.mark.parametrize("bias", [0.0, 3e4])
def test_the_largest_sums_that_data_can_make_are_right(tmp_path: Path, bias: float) -> None:
    """With weights all alike, and data that lie beyond what calibrated the model."""
    model = make(
        "a = Conv (x, one)\n c = Conv (a, w, b)\n y = Flatten (c)", {}, x="1, 3, 32, 32",
        y="1, 2048",
        constants={
            "one": np.ones((512, 3, 1, 1), np.float32),
            "w": np.stack([np.full((512, 1, 1), 0.5), np.full((512, 1, 1), -0.5)]).astype("f4"),
            "b": np.array([bias, -bias], np.float32),
        },
    )  # fmt: skip
    wide(tmp_path / "net.onnx", model)
    int8 = tmp_path / "int8.onnx"
    graph = import_onnx(int8)
    assert [each.op for each in lower_graph(graph, "uint8")] == ["Flatten"]  # of the result
    for sign in (1, -1):
        x = np.full((1, 3, 32, 32), sign * 50.0, np.float32)
        (found,) = programs.ours(int8, x)
        (expected,) = programs.reference(int8, x)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert np.sign(found[0, 0] - bias) == sign


def test_what_recurrent_layers_read_and_give_keeps_8_bits(tmp_path: Path) -> None:
    path = recurrent_models.layer(tmp_path / "m.onnx", "LSTM", "forward")
    data = recurrent_models.calibration(tmp_path / "x.npy", 11, 5)
    made, *_ = quantizing.quantize(path, data=data, samples=8, activation_bits=16)
    plain, *_ = quantizing.quantize(path, data=data, samples=8)
    assert {*zero_points(made).values()} <= {*zero_points(plain).values(), INT16}
    build(tmp_path / "int8.onnx", profile.load("x86-64-v3"))


@pytest.mark.parametrize(
    ("bits", "epochs", "hint"),
    [
        (12, 0, "give 8, or 16"),
        (16, 1, "leave out qat-epochs: activations of 16 bits are not trained"),
    ],
)
def test_what_there_is_not_is_refused(bits: int, epochs: int, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        QuantizeStage(activation_bits=bits, qat_epochs=epochs)
    message = f"quantize: activation-bits = {bits}"
    assert (caught.value.message, caught.value.hint) == (message, hint)

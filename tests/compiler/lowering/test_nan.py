"""What is no number stays none on its way through a program: a fault must show where it ends."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.compiler import float_models
from tests.compiler.lowering.programs import images, ours, parsed, reference
from tests.compiler.lowering.test_functions_of_floats import functions

NAN_TOO = np.array([[0.5, np.nan, 2.0, np.nan, 0.0, 1.0, 3.0, np.nan]], np.float32)


@pytest.mark.parametrize(
    "op",
    [
        "Sigmoid", "Tanh", "Exp", "Erf", "Sqrt", "Gelu", "Mish", "Swish", "Relu", "LeakyRelu",
        "HardSigmoid", "HardSwish", "Celu", "Neg", "Elu", "Selu", "Sign", "Softplus", "Log", "Sin",
    ],
)  # fmt: skip
def test_nan_goes_through_a_function(tmp_path: Path, op: str) -> None:
    np.testing.assert_array_equal(np.isnan(functions(tmp_path, op, NAN_TOO)), np.isnan(NAN_TOO))


@pytest.mark.parametrize(
    "body",
    [
        "y = Clip (x, zero, six)",
        "y = Max (x, zero)",
        "y = Min (zero, x, six)",
        "a = Add (x, x)\n y = Relu (a)",
        "s = Sqrt (x)\n c = Clip (s, zero, six)\n y = Mul (c, x)",
    ],
)
def test_nan_goes_through_bounds(tmp_path: Path, body: str) -> None:
    constants = {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}
    used = {name: value for name, value in constants.items() if name in body}
    model = float_models.make(body + "\n", {}, x="1, 8", y="1, 8", constants=used)
    (found,) = ours(float_models.write(model, tmp_path / "m.onnx"), NAN_TOO)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(NAN_TOO))


@pytest.mark.parametrize("op", ["Max", "Min"])
@pytest.mark.parametrize("operands", ["x, z", "z, x", "l, x", "x, l"])
def test_nan_goes_through_the_larger_of_two_values(tmp_path: Path, op: str, operands: str) -> None:
    """From either side: of another tensor, and of a function of the same one."""
    text = f"""
        <ir_version: 8, opset_import: ["" : 20]>
        m (float[1, 8] x, float[1, 8] z) => (float[1, 8] y, float[1, 8] s)
        {{ l = Sqrt (x)  y = {op} ({operands})  s = Add (x, z) }}
    """
    path = float_models.write(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    x = np.array([[0.5, np.nan, -2.0, 3.0, -np.inf, 1.0, 3.0, np.nan]], np.float32)
    z = np.array([[0.5, 1.0, np.nan, 0.0, 0.0, np.nan, np.inf, np.nan]], np.float32)
    np.testing.assert_array_equal(ours(path, x, z)[0], reference(path, x, z)[0])


@pytest.mark.parametrize(
    "body",
    [
        "c = Conv (x, w)\n y = Relu (c)",
        "c = Conv <group = 3, kernel_shape = [1, 1]> (x, v)\n y = Clip (c, zero)",
        "p = GlobalAveragePool (x)\n y = Relu (p)",
        "y = AveragePool <kernel_shape = [2, 2]> (x)",
    ],
)
def test_nan_goes_through_what_sums(tmp_path: Path, body: str) -> None:
    """A pixel of one channel is NaN: so is what is made of it, and nothing else."""
    constants = {"zero": np.array(0, np.float32)} if "zero" in body else {}
    weights: dict[str, tuple[int, ...]] = {"w": (3, 3, 1, 1), "v": (3, 1, 1, 1)}
    model = float_models.make(
        body + "\n", {name: shape for name, shape in weights.items() if f", {name})" in body},
        x="1, 3, 4, 4", y="1, 3, a, b", constants=constants,
    )  # fmt: skip
    x = images(1, 3, 4, 4)
    x[0, 1, 2, 3] = np.nan
    path = float_models.write(model, tmp_path / "m.onnx")
    (found,), (expected,) = ours(path, x), reference(path, x)
    assert np.isnan(expected).any()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))


# Rows in which NaN or an infinity is what counts.
ROWS = np.array(
    [
        [np.nan, np.inf, 0.5, 1], [np.inf, 1, -2, 3], [-np.inf, 1, 2, 3], [-np.inf] * 4,
        [np.inf] * 4, [1, 2, np.nan, 0.1], [-np.inf, np.nan, 0.2, 0.3], [3e38, 3e38, 1, 0],
        [-200, -201, -300, -200], [0.25, -0.5, 4, 0],
    ],
    np.float32,
)  # fmt: skip


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_what_is_no_finite_number_counts_in_a_reduction(
    tmp_path: Path, opset: int, keepdims: int
) -> None:
    operators = ("ReduceLogSumExp", "ReduceMax", "ReduceMin", "ThresholdedRelu")
    nodes = ""
    for op in operators[:-1]:
        axes, more = ("axes = [1], ", "") if opset < 18 else ("", ", axes")
        nodes += f"{op}_y = {op} <{axes}keepdims = {keepdims}> (x{more})\n"
    shape = "10, 1" if keepdims else "10"
    results = ", ".join(f"float[{shape}] {op}_y" for op in operators[:-1])
    text = f"""
        m (float[10, 4] x) => ({results}, float[10, 4] ThresholdedRelu_y)
        {{ {nodes} ThresholdedRelu_y = ThresholdedRelu <alpha = 0.4> (x) }}
    """
    operands = {"axes": np.array([1])} if opset >= 18 else {}
    path = parsed(tmp_path, text, opset, **operands)
    # ONNX Runtime's greatest of a row with NaN depends on where in it NaN is.
    exact = {"ReduceMax": np.max(ROWS, axis=1), "ReduceMin": np.min(ROWS, axis=1)}
    for op, found, theirs in zip(operators, ours(path, ROWS), reference(path, ROWS), strict=True):
        expected = exact[op].reshape(theirs.shape) if op in exact else theirs
        np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=op)


@pytest.mark.parametrize(
    "body",
    [
        "y = Clip (x, bound)",
        "y = Clip (x, , bound)",
        "y = Clip (x)",
        "y = Clip (x, low, high)",
        "m = Mul (x, x)\n y = Clip (m, bound)",
        "c = MatMul (x, one)\n y = Clip (c, bound)",
        "y = Gelu (x)",
        'y = Gelu <approximate = "tanh"> (x)',
    ],
)
def test_the_ends_of_the_numbers_are_what_onnx_runtime_makes_of_them(
    tmp_path: Path, body: str
) -> None:
    """A bound that is left out is the largest number; one that is infinite is none."""
    constants = {
        "bound": np.array(0.5, np.float32), "low": np.array(-np.inf, np.float32),
        "high": np.array(np.inf, np.float32), "one": np.eye(1, dtype=np.float32),
    }  # fmt: skip
    used = {name: value for name, value in constants.items() if re.search(rf"\b{name}\b", body)}
    model = float_models.make(body + "\n", {}, x="8, 1", y="8, 1", constants=used)
    path = float_models.write(model, tmp_path / "m.onnx")
    x = np.array([[np.inf], [-np.inf], [3.4e38], [-3.4e38], [1.8e38], [-1.8e38], [1.0], [0.25]])
    values = x.astype(np.float32)
    np.testing.assert_allclose(ours(path, values)[0], reference(path, values)[0], rtol=1e-5)

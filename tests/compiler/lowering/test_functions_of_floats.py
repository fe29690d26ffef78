"""Functions of one float, and of a float and numbers: right everywhere, NaN included."""

from pathlib import Path

import numpy as np
import pytest

from tests.compiler import float_models
from tests.compiler.lowering.programs import images, ours


def functions(tmp_path: Path, op: str, x: np.ndarray, **attributes: float) -> np.ndarray:
    text = ", ".join(f"{name} = {value}" for name, value in attributes.items())
    model = float_models.make(
        f"y = {op} {f'<{text}>' if text else ''} (x)\n", {}, x="1, 8", y="1, 8", opset=24
    )
    (found,) = ours(float_models.write(model, tmp_path / "m.onnx"), x)
    return found


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh", "Exp", "Erf", "Sqrt", "Gelu", "Mish", "Swish"])
def test_nan_goes_through_a_function(tmp_path: Path, op: str) -> None:
    x = np.array([[0.5, np.nan, 2.0, np.nan, 0.0, 1.0, 3.0, np.nan]], np.float32)
    np.testing.assert_array_equal(np.isnan(functions(tmp_path, op, x)), np.isnan(x))


def test_mish_keeps_its_digits_where_it_is_small(tmp_path: Path) -> None:
    x = np.array([[-80.0, -20.0, -10.0, -1.0, 0.0, 1.0, 30.0, 3e38]], np.float32)
    wide = x.astype(np.float64)
    expected = wide * np.tanh(np.log1p(np.exp(np.minimum(wide, 100))))
    np.testing.assert_allclose(functions(tmp_path, "Mish", x), expected, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Celu", {"alpha": 2.0}),
        ("Celu", {"alpha": 0.3}),
        ("Swish", {"alpha": 1.7}),
        ("Elu", {"alpha": 2.0}),
        ("Elu", {"alpha": -0.3}),
        ("Selu", {"alpha": 0.7, "gamma": 3.0}),
    ],
)
def test_functions_with_attributes_have_kernels(
    tmp_path: Path, op: str, attributes: dict[str, float]
) -> None:
    x, alpha = images(1, 8), attributes["alpha"]
    expected = {
        "Celu": np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(x / alpha)),
        "Swish": x / (1 + np.exp(-alpha * x)),
        "Elu": np.where(x > 0, x, alpha * np.expm1(x)),
        "Selu": attributes.get("gamma", 1) * np.where(x > 0, x, alpha * np.expm1(x)),
    }[op]
    found = functions(tmp_path, op, x, **attributes)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_sign_of_the_smallest_float_is_its_own(tmp_path: Path) -> None:
    x = np.array([[1e-45, -1e-45, 0.0, np.inf, -np.inf, 3.0, -2e-38, 1e38]], np.float32)
    np.testing.assert_array_equal(functions(tmp_path, "Sign", x), np.sign(x))


@pytest.mark.parametrize("operands", ["x", "x, a, b"])
def test_max_and_min_take_any_number_of_operands(tmp_path: Path, operands: str) -> None:
    constants = {"a": np.array(-1, np.float32), "b": np.array(0.5, np.float32)}
    used = {name: value for name, value in constants.items() if name in operands}
    model = float_models.make(
        f"m = Max ({operands})\n y = Min (m{operands[1:]})\n", {}, x="1, 8", y="1, 8",
        constants=used,
    )  # fmt: skip
    x = images(1, 8)
    (found,) = ours(float_models.write(model, tmp_path / "m.onnx"), x)
    expected = x if operands == "x" else np.full_like(x, -1)
    np.testing.assert_array_equal(found, expected)

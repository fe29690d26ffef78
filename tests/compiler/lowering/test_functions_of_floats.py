"""Functions of one float, and of a float and numbers: right everywhere, NaN included."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.compiler import float_models
from tests.compiler.lowering.programs import images, ours, parsed, program, reference


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


ENDS = np.array(
    [
        np.nan, np.inf, -np.inf, 0, -0.0, 1e-45, -1e-45, 1e-39, 2.0**-126, 0.5, -0.5, 1.5, -1.5,
        2.5, 1, -1, 0.49999997, 1.0000001, 89.3, -89.3, -104, 1e6, -1e6, 1e10, 3.4e38, -3.4e38,
    ],
    np.float32,
)  # fmt: skip
OPERATORS = [
    "Abs (x)", "Softplus (x)", "Softsign (x)", "Floor (x)", "Ceil (x)", "Round (x)", "Log (x)",
    "Sin (x)", "Cos (x)", "Tan (x)", "Asin (x)", "Acos (x)", "Atan (x)", "Sinh (x)", "Cosh (x)",
    "Asinh (x)", "Acosh (x)", "Atanh (x)", "Pow (x, e0)", "Pow (x, e1)", "Pow (x, e2)",
    "Pow (x, e3)", "Pow (x, e4)", "Pow (x, e5)", "Pow (e1, x)", "ThresholdedRelu <alpha = 0.5> (x)",
    "Shrink <lambd = 0.5, bias = 0.25> (x)", "PRelu (x, e4)",
]  # fmt: skip
EXPONENTS = (0.0, 2.5, 3.0, -1.0, 0.5, -2.0)


def test_functions_answer_as_onnx_runtime_where_numbers_end(tmp_path: Path) -> None:
    """Which of them are no numbers, infinite or 0 with which sign; the rest to six digits."""
    body = "\n".join(f"y{i} = {each}" for i, each in enumerate(OPERATORS))
    outputs = ", ".join(f"float[1, 26] y{i}" for i in range(len(OPERATORS)))
    constants = {f"e{i}": np.array(each, np.float32) for i, each in enumerate(EXPONENTS)}
    path = parsed(tmp_path, f"m (float[1, 26] x) => ({outputs}) {{ {body} }}", 20, **constants)
    x = ENDS.reshape(1, -1)
    runner = program(path)
    assert "fallback" not in {layer.op for layer in runner.spec.layers}
    for op, found, theirs in zip(OPERATORS, runner.run(x), reference(path, x), strict=True):
        with np.errstate(invalid="ignore"):
            ratio = x / (1 + np.abs(x))
        # Of what is large ONNX Runtime takes the inverse first, which has few digits.
        expected = np.asarray(ratio if op == "Softsign (x)" else theirs, np.float64)
        wide = np.asarray(found, np.float64)
        np.testing.assert_allclose(wide, expected, rtol=1e-6, atol=1e-44, err_msg=op)
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(
            np.signbit(found[known]), np.signbit(theirs[known]), err_msg=op
        )


@pytest.mark.parametrize("slope", [(), (8, 1, 1), (8, 3, 4)])
def test_a_slope_of_what_is_negative_has_a_kernel(tmp_path: Path, slope: tuple[int, ...]) -> None:
    """One, one a channel, one a value."""
    rng = np.random.default_rng(0)
    path = parsed(
        tmp_path, "m (float[2, 8, 3, 4] x) => (float[2, 8, 3, 4] y) { y = PRelu (x, s) }", 20,
        s=rng.normal(size=slope).astype(np.float32),
    )  # fmt: skip
    x = images(2, 8, 3, 4)
    x[0, :, 0, :3] = -0.0, np.nan, -np.inf
    runner = program(path)
    assert "fallback" not in {layer.op for layer in runner.spec.layers}
    np.testing.assert_array_equal(runner.run(x)[0], reference(path, x)[0])


MASKS = {
    "below zero": "l = Less (x, z) m = Mul (x, c) y = Where (l, m, x)",
    "zero itself": "e = Equal (x, z) y = Where (e, c, x)",
    "a leaky one": "g = Greater (x, c) m = Mul (x, c) y = Where (g, x, m)",
    "a window": "l = Less (x, c) h = GreaterOrEqual (x, n) a = And (l, h) y = Where (a, x, i)",
    "outside of it": "l = LessOrEqual (x, n) h = Greater (x, c) o = Or (l, h) y = Where (o, c, x)",
    "one of two": "l = Less (x, c) h = Less (x, n) o = Xor (l, h) y = Cast <to = 1> (o)",
    "none": "e = Equal (x, n) o = Not (e) f = Cast <to = 1> (o) y = Mul (f, x)",
    "not zero": "b = Cast <to = 9> (x) y = Cast <to = 1> (b)",
    "of another one": "s = Sin (x) g = Greater (s, x) y = Where (g, s, x)",
}


@pytest.mark.parametrize("body", MASKS.values(), ids=MASKS)
def test_comparisons_and_what_chooses_by_them_are_one_function(tmp_path: Path, body: str) -> None:
    """The same bits as ONNX Runtime's, NaN and infinities included."""
    constants = {"c": 0.5, "n": -1.5, "i": -np.inf, "z": 0.0}
    used = {k: np.array(v, np.float32) for k, v in constants.items() if f", {k}" in body}
    path = parsed(tmp_path, f"m (float[1, 26] x) => (float[1, 26] y) {{ {body} }}", 20, **used)
    x = ENDS.reshape(1, -1)
    runner = program(path)
    assert [layer.op for layer in runner.spec.layers] == ["function"]
    np.testing.assert_allclose(
        np.asarray(runner.run(x)[0]), np.asarray(reference(path, x)[0]), rtol=1e-6
    )


FLOATS_NOT_REALS = {
    "rounded by a large number": "a = Add (x, g) y = Sub (a, g)",
    "rounded from below": "a = Add (g, x) y = Sub (g, a)",
    "without itself": "a = Add (x, c) y = Sub (a, x)",
    "less itself": "s = Sub (x, x) y = Abs (s)",
    "times nothing": "y = Mul (x, z)",
    "nothing times": "y = Mul (z, x)",
    "nothing by it": "y = Div (z, x)",
    "and nothing": "y = Add (x, z)",
    "nothing less": "y = Sub (z, x)",
}


@pytest.mark.parametrize("body", FLOATS_NOT_REALS.values(), ids=FLOATS_NOT_REALS)
def test_sums_and_products_are_those_of_floats(tmp_path: Path, body: str) -> None:
    """Of real numbers x - x is 0 always, and x + c - c is x."""
    constants = {"c": 0.5, "g": 1.5 * 2.0**23, "z": 0.0}
    used = {
        k: np.array(v, np.float32) for k, v in constants.items() if re.search(rf"\b{k}\b", body)
    }
    path = parsed(tmp_path, f"m (float[1, 26] x) => (float[1, 26] y) {{ {body} }}", 20, **used)
    x = ENDS.reshape(1, -1)
    found, expected = np.asarray(program(path).run(x)[0]), np.asarray(reference(path, x)[0])
    np.testing.assert_array_equal(found, expected)
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(expected[known]))


def test_a_truth_value_that_is_given_back_is_one_still(tmp_path: Path) -> None:
    body = "g = Greater (x, c) y = Where (g, x, c)"
    path = parsed(
        tmp_path, f"m (float[1, 8] x) => (float[1, 8] y, bool[1, 8] g) {{ {body} }}", 20,
        c=np.array(0.5, np.float32),
    )  # fmt: skip
    x = images(1, 8)
    (chosen, above), (right, truth) = program(path).run(x), reference(path, x)
    np.testing.assert_array_equal(chosen, right)
    np.testing.assert_array_equal(above, truth)


def test_whether_a_value_is_itself_asks_for_nan(tmp_path: Path) -> None:
    body = "e = Equal (x, x) y = Where (e, x, c)"
    path = parsed(
        tmp_path, f"m (float[1, 26] x) => (float[1, 26] y) {{ {body} }}", 20,
        c=np.array(0.5, np.float32),
    )  # fmt: skip
    x = ENDS.reshape(1, -1)
    np.testing.assert_array_equal(program(path).run(x)[0], reference(path, x)[0])

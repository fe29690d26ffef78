"""The arithmetic in numpy against exact integers, and against the ONNX functions."""

import math
from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgekiln.compiler.onnx_model.own_functions import OPSET, add_functions, functions
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.onnx_model.tflite import exponentials, fixed_point
from edgekiln.compiler.onnx_model.tflite.functions import DOMAIN

SUMS = st.integers(-(2**29), 2**29)
FACTORS = st.floats(2.0**-20, 0.999)


def half_away(exact: Fraction) -> int:
    return math.copysign(1, exact) * math.floor(abs(exact) + Fraction(1, 2))  # type: ignore[return-value]


@given(SUMS, FACTORS)
def test_rounding_once_is_the_exact_product_rounded(x: int, real: float) -> None:
    integer, shift = fixed_point.quantized_multiplier(real)
    exact = Fraction(x * integer) / 2 ** (31 - shift)
    found = fixed_point.rounded_once(np.array([x]), integer, shift)
    assert found.tolist() == [half_away(exact)]


@given(SUMS, FACTORS)
def test_rounding_twice_rounds_the_upper_half_first(x: int, real: float) -> None:
    integer, shift = fixed_point.quantized_multiplier(real)
    high = math.floor(Fraction(x * integer, 2**31) + Fraction(1, 2))
    found = fixed_point.rounded_twice(np.array([x]), integer, shift)
    assert found.tolist() == [half_away(Fraction(high, 2 ** max(-shift, 0)))]


@given(FACTORS)
def test_a_factor_is_near_its_real_value(real: float) -> None:
    integer, shift = fixed_point.quantized_multiplier(real)
    assert integer * 2.0 ** (shift - 31) == pytest.approx(real, rel=2.0**-31)
    assert 1 << 30 <= integer < 1 << 31


def test_the_exponential_is_near_the_real_one() -> None:
    steps = np.arange(256)
    found = exponentials.powers(0.05) / 2.0**31
    np.testing.assert_allclose(found, np.exp(-0.05 * steps), atol=2.0**-21)


def test_softmax_sums_up_to_one() -> None:
    rows = np.random.default_rng(0).integers(-128, 128, (50, 10))
    found = exponentials.softmax(rows, exponentials.powers(0.1))
    assert np.abs(found.sum(-1) - 256).max() <= 5


def computed(op: str, *arrays: np.ndarray, **given: object) -> np.ndarray:  # type: ignore[type-arg]
    """One function of ours on ONNX Runtime."""
    names = [f"operand{i}" for i in range(len(arrays))]
    node = helper.make_node(op, names, ["y"], domain=DOMAIN, **given)
    kinds = [helper.np_dtype_to_tensor_dtype(a.dtype) for a in arrays]
    shape = [None] * arrays[0].ndim
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(names[0], kinds[0], arrays[0].shape)],
        [helper.make_tensor_value_info("y", kinds[0], shape)],
        [numpy_helper.from_array(a, n) for a, n in zip(arrays[1:], names[1:], strict=True)],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    add_functions(model)
    onnx.checker.check_model(model, full_check=True)
    found: np.ndarray = Session(model, optimize=False)(arrays[0])[0]  # type: ignore[type-arg]
    return found


@pytest.mark.parametrize("how", ["Twice", "Once"])
def test_the_functions_round_as_numpy_does(how: str) -> None:
    rng = np.random.default_rng(0)
    for real in (0.5, 2.0**-9, 0.3, 0.0007, 1.0):
        integer, shift = fixed_point.quantized_multiplier(real)
        ties = ((rng.integers(-200, 200, 100) + 0.5) / real).astype(np.int64)
        x = np.concatenate([ties, rng.integers(-(2**29), 2**29, 100)])
        times = fixed_point.rounded_twice if how == "Twice" else fixed_point.rounded_once
        found = computed(f"Rounded{how}", x, np.array(integer), np.array(shift))
        np.testing.assert_array_equal(found, times(x, integer, shift))


def test_the_function_of_softmax_is_numpys() -> None:
    x = np.random.default_rng(0).integers(-128, 128, (20, 17)).astype(np.int8)
    powers = exponentials.powers(0.1)
    found = computed("Softmax", x, powers.astype(np.int64), np.array(-128), x_scale=0.1, x_zero=0)
    np.testing.assert_array_equal(found, exponentials.softmax(x.astype(np.int64), powers) - 128)


def test_a_model_cannot_bring_other_definitions_of_ours() -> None:
    """A stranger's function of our names is replaced."""
    node = helper.make_node("RoundedOnce", ["x", "integer", "shift"], ["y"], domain=DOMAIN)
    graph = helper.make_graph([node], "one", [], [])
    model = helper.make_model(graph)
    other = onnx.FunctionProto(name="RoundedOnce", domain=DOMAIN)
    model.functions.append(other)
    add_functions(model)
    ours = {each.name: each for each in functions()}
    assert [each.name for each in model.functions] == ["DividedByPower", "RoundedOnce"]
    assert model.functions[1] == ours["RoundedOnce"]

"""Logarithms, powers, angles and hyperbolic functions of floats, against float64: near everywhere,
and right where numbers end.
"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.function import FunctionStep
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.unary import MapKernel
from tests.compiler.kernels.harness import (
    Array,
    floats_everywhere,
    floats_here,
    microkernel,
    quick,
    run,
)

# The function, and how many units in the last place it may be off: at most half a unit of them is
# the rounding of an exact result.
FUNCTIONS: dict[str, tuple[Callable[[Array], Array], float]] = {
    "Abs": (np.abs, 0),
    "Floor": (np.floor, 0),
    "Ceil": (np.ceil, 0),
    "Round": (np.rint, 0),
    "Log": (np.log, 1),
    "Softplus": (lambda x: np.logaddexp(0, x), 3),
    "Sinh": (np.sinh, 2),
    "Cosh": (np.cosh, 2),
    "Asinh": (np.arcsinh, 4),
    "Acosh": (np.arccosh, 3),
    "Atanh": (np.arctanh, 2),
    "Sin": (np.sin, 3),
    "Cos": (np.cos, 3),
    "Tan": (np.tan, 4),
    "Asin": (np.arcsin, 3),
    "Acos": (np.arccos, 2),
    "Atan": (np.arctan, 3),
}
SMALLEST = 2.0**-126  # that has all its digits
EDGES = np.array(
    [
        np.nan, np.inf, -np.inf, 0, -0.0, SMALLEST, 1, -1, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 1e-20,
        np.nextafter(np.float32(1), 2), np.nextafter(np.float32(1), 0), 2**23 - 0.5, 2**22 + 0.5,
        -(2**22) - 0.5, 2**23, 2**24, 1e10, -1e10, 88.8, 89.3, 89.5, -88, -200, 200, 3e38, -3e38,
        131071.9, 131072, -131073, np.pi / 2, np.pi, 16367173 * 2.0**72,
    ],
    np.float32,
)  # fmt: skip
# Of fewer digits, which NEON of 32 bits takes for 0.
TINY = np.array([1e-45, -1e-45, 1e-39, -1e-39, -103.9, -104.5], np.float32)


def row(count: int) -> Nhwc:
    return Nhwc(n=1, h=1, w=1, c=count, dtype="float32")


def ours(name: str, step: FunctionStep, x: Array) -> Array:
    kernel = MapKernel(x=row(x.size), y=row(x.size), function=(step,))
    return run(built(kernel, microkernel(name)), name, [x], row(x.size))


def assert_near(found: Array, exact: Array, units: float) -> None:
    """So many units in the last place from results of more digits, and the same ends and signs."""
    with np.errstate(all="ignore"):
        expected = exact.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(expected[known]))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    finite = np.isfinite(expected)
    off = np.abs(found[finite].astype(np.longdouble) - exact[finite])
    assert (off <= units * np.spacing(np.abs(expected[finite]))).all()


@floats_everywhere
@pytest.mark.parametrize("op", FUNCTIONS)
def test_functions_are_right_where_numbers_end(name: str, op: str) -> None:
    exact, units = FUNCTIONS[op]
    x = EDGES if name == "armv7_f32" else np.concatenate([EDGES, TINY])
    with np.errstate(all="ignore"):
        found, right = ours(name, FunctionStep(op, (0,)), x), exact(x.astype(np.longdouble))
        if name == "armv7_f32":  # what has fewer digits is 0
            seen = ~(np.abs(right) < SMALLEST) | (right == 0)
            found, right = found[seen], right[seen]
        assert_near(found, right, units)


@floats_here
@pytest.mark.parametrize("op", FUNCTIONS)
@given(seed=st.integers(0, 2**16), size=st.sampled_from([1.0, 4.0, 100.0, 1e5]))
@quick
def test_functions_are_near_everywhere(name: str, op: str, seed: int, size: float) -> None:
    exact, units = FUNCTIONS[op]
    rng = np.random.default_rng(seed)
    # As often at every size that a float has, but for angles, of which float64 reduces no larger.
    most = 60 if op in ("Sin", "Cos", "Tan") else 127
    x = np.exp2(rng.uniform(-126, most, 999)) * rng.choice([-1, 1], 999)
    x = np.concatenate([x, rng.uniform(-size, size, 3098)]).astype(np.float32)
    with np.errstate(all="ignore"):
        assert_near(ours(name, FunctionStep(op, (0,)), x), exact(x.astype(np.longdouble)), units)


@floats_here
def test_the_largest_angles_are_angles(name: str) -> None:
    """Sines with more digits than 80 bits have, by mpmath."""
    x = np.array([2.0**127, 3.4028235e38, 1.2345e30, 16367173 * 2.0**72, 1e22], np.float32)
    exact = [0.6233855, -0.5218765, -0.7173044, 1.0, -0.73408153]
    found = ours(name, FunctionStep("Sin", (0,)), x)
    np.testing.assert_allclose(found, exact, rtol=3e-7)


EXPONENTS = [2.5, 3.0, -3.0, -2.75, 1 / 2.2, 100.5, 1e20]


@floats_everywhere
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_powers_are_right_where_numbers_end(name: str, exponent: float) -> None:
    exponent = float(np.float32(exponent))
    bases = np.concatenate([EDGES, np.exp2(np.linspace(-120, 120, 59)).astype(np.float32)])
    found = ours(name, FunctionStep("Pow", (0, exponent)), bases)
    with np.errstate(all="ignore"):
        exact = bases.astype(np.longdouble) ** np.longdouble(exponent)
    if name == "armv7_f32":  # what has fewer digits is 0
        seen = ~(np.abs(exact) < SMALLEST)
        found, exact = found[seen], exact[seen]
    assert_near(found, exact, 2)


@floats_everywhere
@pytest.mark.parametrize("base", [2.0, 0.3, 1.0009765625, 3e38])
def test_powers_of_a_number_are_right_where_numbers_end(name: str, base: float) -> None:
    base = float(np.float32(base))
    exponents = np.concatenate([EDGES, np.linspace(-30, 30, 91, dtype=np.float32)])
    found = ours(name, FunctionStep("Pow", (base, 0)), exponents)
    with np.errstate(all="ignore"):
        exact = np.longdouble(base) ** exponents.astype(np.longdouble)
    if name == "armv7_f32":
        seen = ~(np.abs(exact) < SMALLEST)
        found, exact = found[seen], exact[seen]
    assert_near(found, exact, 2)

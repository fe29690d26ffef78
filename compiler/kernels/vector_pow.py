"""Powers with a constant exponent, or of a constant base, of float32 vectors.

A logarithm is held in two float32, for an exponent makes much of its error. Errors against exact
results are a few units in the last place; the tests hold them.
"""

import math

import numpy as np

from edgekiln.compiler.kernels.float_bits import (
    absolute,
    as_float,
    constant,
    exactly,
    exponent_and_mantissa,
    infinite,
    is_finite,
    is_nan,
    nan,
    scaled,
    sign_bit,
    turned,
)
from edgekiln.compiler.kernels.multiply_add import approximate_fma, cancelling_fma
from edgekiln.compiler.kernels.tir import let
from edgekiln.compiler.kernels.vector_math import EXP, inside, polynomial
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, maximum, minimum, select

_Two = tuple[Expr, Expr]  # a sum of two float32, the first of which is the sum rounded

# log2(1 + f) = f·(c₁ + f·(c₂ + f·(c₃ + f·Q(f)))) for 1 + f in [√½, √2]: c in two float32 each, and
# Q, lowest power first, fitted to 31 bits of the logarithm.
_LOG2 = (
    (1.4426950216293335, 1.9259629911266175e-08), (-0.7213475108146667, -9.629814955633087e-09),
    (0.48089835047721863, -3.514230825476379e-09),
)  # fmt: skip
_LOG2_REST = (
    -0.3606737387, 0.2885383791, -0.2404508376, 0.2061453071, -0.1803270392, 0.1591376872,
    -0.1431447447, 0.1429090499, -0.1419864089, 0.07939086964,
)  # fmt: skip
# 2 to a power below or above is 0 or infinite in float32.
_RANGE = (-153.0, 130.0)
_ALL_EVEN = 2.0**24  # from here on every float32 is an even number


def to_constant(mk: MicroKernel, x: Expr, exponent: float, lanes: int) -> Expr:
    """Return x to an exponent that is finite and not 0: of a negative x NaN, if it is not whole."""
    size = let(absolute(x, lanes))
    found = _power_of_two(mk, _times(mk, _log2(mk, size, lanes), exponent, lanes), lanes)
    ends = [constant(0.0, lanes), infinite(lanes)]
    of_zero, of_infinite = ends if exponent > 0 else reversed(ends)
    found = select(size < infinite(lanes), found, of_infinite)
    found = let(select(size > constant(0.0, lanes), found, of_zero))
    if exponent != math.trunc(exponent):
        negative = let(select(is_finite(x, lanes), nan(lanes), found))
        found = select(x < constant(0.0, lanes), negative, found)
    found = select(is_nan(x, lanes), x, found)
    odd = abs(exponent) < _ALL_EVEN and exponent % 2 == 1
    return turned(found, sign_bit(x, lanes), lanes) if odd else found


def of_constant(mk: MicroKernel, base: float, x: Expr, lanes: int) -> Expr:
    """Return a positive and finite base, other than 1, to the power of x."""
    exact = np.log2(np.longdouble(base))
    high = np.float32(exact)
    low = np.float32(exact - np.longdouble(high))
    known = constant(float(high), lanes), constant(float(low), lanes)
    product = exactly(x * known[0], lanes)
    rest = approximate_fma(mk, x, known[1], cancelling_fma(mk, x, known[0], -product, lanes), lanes)
    return select(is_nan(x, lanes), x, _power_of_two(mk, (product, let(rest)), lanes))


def _log2(mk: MicroKernel, x: Expr, lanes: int) -> _Two:
    """The logarithm of a positive number."""
    n, m = exponent_and_mantissa(x, lanes)
    whole, f = let(as_float(n, lanes)), let(m - constant(1.0, lanes))
    high, low = let(polynomial(mk, f, _LOG2_REST, lanes)), constant(0.0, lanes)
    for terms in reversed(_LOG2):
        of_high, of_low = (constant(term, lanes) for term in terms)
        product, rest = _product(mk, (high, low), f, lanes)
        high, more = _sum(of_high, product, lanes)
        low = let(more + rest + of_low)
    product, rest = _product(mk, (high, low), f, lanes)
    total, more = _sum(whole, product, lanes)
    return total, let(more + rest)


def _times(mk: MicroKernel, value: _Two, factor: float, lanes: int) -> _Two:
    return _product(mk, value, constant(factor, lanes), lanes)


def _product(mk: MicroKernel, value: _Two, factor: Expr, lanes: int) -> _Two:
    """A sum of two times a number: what rounding takes away is a multiply-add's (Dekker, 1971)."""
    high, low = value
    product = exactly(high * factor, lanes)
    rest = cancelling_fma(mk, high, factor, -product, lanes)
    return product, let(approximate_fma(mk, low, factor, rest, lanes))


def _sum(larger: Expr, smaller: Expr, lanes: int) -> _Two:
    """A sum, and what rounding took away (Dekker's fast two-sum); the larger one may be 0, too."""
    total = exactly(larger + smaller, lanes)
    return total, let(smaller - exactly(total - larger, lanes))


def _power_of_two(mk: MicroKernel, exponent: _Two, lanes: int) -> Expr:
    """2 to a power, of a number whatever was made of NaN and infinities."""
    high, low = exponent
    high = let(inside(high, *_RANGE, lanes))
    # Beside an infinite one it is NaN, which is here the first of a comparison.
    low = minimum(maximum(low, constant(-1.0, lanes)), constant(1.0, lanes))
    n = let(mk.round_to_int(high, lanes))
    rest = let((high - as_float(n, lanes)) + low)
    power = polynomial(mk, let(rest * constant(math.log(2), lanes)), EXP[::-1], lanes)
    return scaled(power, n, lanes)

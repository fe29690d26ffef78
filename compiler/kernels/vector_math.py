"""Functions of float32 vectors that no instruction set has: exp, sigmoid, tanh, erf. Others are in
`vector_powers` and `vector_angles`.

Errors against exact results are a few units in the last place; the tests hold them. NaN gives NaN.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np

from edgekiln.compiler.kernels.float_bits import EXPONENT_BIAS, MANTISSA_BITS
from edgekiln.compiler.kernels.multiply_add import approximate_fma
from edgekiln.compiler.kernels.tir import let
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Expr,
    cast,
    const,
    float_const,
    maximum,
    minimum,
    reinterpret,
    splat,
)  # fmt: skip

# e^r for |r| ≤ ln 2 / 2, highest power first: expf of Moshier's Cephes library. ln 2 in two parts,
# so that n·ln 2 leaves x without a rounding.
EXP = (
    1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
    5.0000001201e-1, 1.0, 1.0,
)  # fmt: skip
_LN2 = (0.693359375, -2.12194440e-4)
_EXP_RANGE = (-87.0, 89.0)  # below: as at -87, about 1e-38; above 88.72 the result is infinite

# Rational approximations x·P(x²) / Q(x²), lowest power first: Eigen's ptanh_float and perf_float,
# which are constant in float32 beyond these bounds.
_TANH_BOUND = 9.0
_TANH = (
    (4.89352455891786e-3, 6.37261928875436e-4, 1.48572235717979e-5, 5.12229709037114e-8,
     -8.60467152213735e-11, 2.00018790482477e-13, -2.76076847742355e-16),
    (4.89352518554385e-3, 2.26843463243900e-3, 1.18534705686654e-4, 1.19825839466702e-6),
)  # fmt: skip
_ERF_BOUND = 4.0
_ERF = (
    (-1.60960333262415e-2, -2.95459980854025e-3, -7.34990630326855e-4, -5.69250639462346e-5,
     -2.10102402082508e-6, 2.77068142495902e-8, -2.72614225801306e-10),
    (-1.42647390514189e-2, -7.37332916720468e-3, -1.68282697438203e-3, -2.13374055278905e-4,
     -1.45660718464996e-5),
)  # fmt: skip


def exp(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """Return e^x = 2ⁿ·e^r with n = round(x / ln 2)."""
    n, power = exp_parts(mk, x, _EXP_RANGE, lanes)
    # Half of 2ⁿ, whose exponent fits a float32 for every n of the range; then twice the result.
    exponent = (n + splat(const(EXPONENT_BIAS - 1), lanes)) << splat(const(MANTISSA_BITS), lanes)
    return power * reinterpret(exponent, "float32", lanes) * splat(float_const(2.0), lanes)


def exp_parts(
    mk: MicroKernel, x: Expr, bounds: tuple[float, float], lanes: int
) -> tuple[Expr, Expr]:
    """Return n and e^r of e^x = 2ⁿ·e^r, of an x inside bounds."""
    x = let(inside(x, *bounds, lanes))
    n = let(mk.round_to_int(x * splat(float_const(1 / np.log(2)), lanes), lanes))
    whole = let(cast(n, "float32", lanes))
    # r = x - n·ln 2, by two multiply-adds that lose no bits of it.
    for part in _LN2:
        x = approximate_fma(mk, whole, splat(float_const(-part), lanes), x, lanes)
    return n, polynomial(mk, let(x), EXP[::-1], lanes)


def sigmoid(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """Return 1 / (1 + e^-x)."""
    one = splat(float_const(1.0), lanes)
    return one / (one + exp(mk, splat(float_const(0.0), lanes) - x, lanes))


def tanh(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """The hyperbolic tangent."""
    return _odd_ratio(mk, x, _TANH, _TANH_BOUND, lanes)


def erf(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """The error function."""
    return _odd_ratio(mk, x, _ERF, _ERF_BOUND, lanes)


def _odd_ratio(
    mk: MicroKernel, x: Expr, terms: tuple[Sequence[float], Sequence[float]], bound: float,
    lanes: int,
) -> Expr:  # fmt: skip
    """Return x·P(x²) / Q(x²). Beyond the bound the function is constant in float32."""
    x = let(inside(x, -bound, bound, lanes))
    square = let(x * x)
    above, below = (polynomial(mk, square, part, lanes) for part in terms)
    return x * above / below


def inside(x: Expr, low: float, high: float, lanes: int) -> Expr:
    """`x` inside [low, high]; NaN where it is NaN, being the second one of each comparison."""
    return minimum(splat(float_const(high), lanes), maximum(splat(float_const(low), lanes), x))


def polynomial(mk: MicroKernel, x: Expr, terms: Sequence[float], lanes: int) -> Expr:
    """Σ terms[i]·xⁱ, by Horner's rule."""
    first, *others = (splat(float_const(term), lanes) for term in reversed(terms))
    return reduce(lambda power, term: approximate_fma(mk, power, x, term, lanes), others, first)

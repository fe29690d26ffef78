"""Functions of float32 vectors that powers and logarithms make: log, softplus, and the
hyperbolic ones with their inverses.

Polynomials without another source are those of Moshier's Cephes library, in single precision.
Errors against exact results are a few units in the last place; the tests hold them.
"""

import math

from edgekiln.compiler.kernels.float_bits import (
    absolute,
    as_float,
    constant,
    exponent_and_mantissa,
    infinite,
    nan,
    scaled,
    sign_bit,
    turned,
    word,
)
from edgekiln.compiler.kernels.multiply_add import approximate_fma
from edgekiln.compiler.kernels.tir import let
from edgekiln.compiler.kernels.vector_math import exp_parts, polynomial
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, llvm, maximum, minimum, select, vector

# Lowest power first.
_LOG = (
    3.3333331174e-1, -2.4999993993e-1, 2.0000714765e-1, -1.6668057665e-1, 1.4249322787e-1,
    -1.2420140846e-1, 1.1676998740e-1, -1.1514610310e-1, 7.0376836292e-2,
)  # fmt: skip
_LN2 = (0.693359375, -2.12194440e-4)
_ATANH = (
    3.33337300303e-1, 1.99782164500e-1, 1.46691431730e-1, 8.24370301058e-2, 1.81740078349e-1,
)  # fmt: skip
_SINH = (1.66667160211e-1, 8.33028376239e-3, 2.03721912945e-4)
_ASINH = (-1.6666288134e-1, 7.4847586088e-2, -4.2699340972e-2, 2.0122003309e-2)
_ACOSH = (
    1.4142135263, -1.1784741703e-1, 2.6454905019e-2, -7.5272886713e-3, 1.7596881071e-3,
)  # fmt: skip
# Their squares are so large that 1 beside them does not count.
_FAR = 4096.0
# Below and above, e^x is 0 and infinite in float32.
_EXP_RANGE = (-105.0, 91.0)


def log(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """Return the natural logarithm: -∞ of 0, NaN of what is below."""
    n, m = exponent_and_mantissa(x, lanes)
    whole, f = as_float(n, lanes), let(m - constant(1.0, lanes))
    square = let(f * f)
    rest = f * square * polynomial(mk, f, _LOG, lanes)
    rest = approximate_fma(mk, whole, constant(_LN2[1], lanes), rest, lanes)
    rest = f + approximate_fma(mk, square, constant(-0.5, lanes), rest, lanes)
    found = approximate_fma(mk, whole, constant(_LN2[0], lanes), rest, lanes)
    # What is infinite already, and NaN.
    found = select(x < infinite(lanes), found, x)
    zero = constant(0.0, lanes)
    return select(x > zero, found, select(x >= zero, constant(-math.inf, lanes), nan(lanes)))


def _exp(mk: MicroKernel, x: Expr, lanes: int, halvings: int = 0) -> Expr:
    """Return e^x / 2^halvings down to the smallest float: 0 of -∞."""
    n, power = exp_parts(mk, x, _EXP_RANGE, lanes)
    return scaled(power, n - word(halvings, lanes) if halvings else n, lanes)


def _odd(mk: MicroKernel, x: Expr, terms: tuple[float, ...], lanes: int) -> Expr:
    """Return x + x³·P(x²)."""
    square = let(x * x)
    return approximate_fma(mk, x * square, polynomial(mk, square, terms, lanes), x, lanes)


def _root(x: Expr, lanes: int) -> Expr:
    return llvm("llvm.sqrt", vector("float32", lanes), x)


def softplus(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """Return ln(1 + e^x) = max(x, 0) + ln(1 + u) with u = e^-|x|, and ln(1 + u) = 2·artanh(u / (2
    + u)): no digits are lost where u is small.
    """
    u = let(_exp(mk, turned(x, sign_bit(x, lanes) ^ word(-(2**31), lanes), lanes), lanes))
    ratio = let(u / (constant(2.0, lanes) + u))
    above = maximum(constant(0.0, lanes), x)
    return approximate_fma(mk, constant(2.0, lanes), _odd(mk, ratio, _ATANH, lanes), above, lanes)


def sinh(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """Return (e^x - e^-x) / 2."""
    size = let(absolute(x, lanes))
    half = let(_exp(mk, size, lanes, halvings=1))
    far = half - constant(0.25, lanes) / half
    near = let(minimum(constant(1.0, lanes), size))  # whose powers are numbers
    found = select(size > constant(1.0, lanes), far, _odd(mk, near, _SINH, lanes))
    return turned(found, sign_bit(x, lanes), lanes)


def cosh(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """Return (e^x + e^-x) / 2."""
    half = let(_exp(mk, absolute(x, lanes), lanes, halvings=1))
    return half + constant(0.25, lanes) / half


def asinh(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """Return ±ln(|x| + √(x² + 1)), and near 0 a polynomial."""
    size = let(absolute(x, lanes))
    root = _root(approximate_fma(mk, size, size, constant(1.0, lanes), lanes), lanes)
    far = _log_of_sum(mk, size, root, lanes)
    near = let(minimum(constant(0.5, lanes), size))
    found = select(size > constant(0.5, lanes), far, _odd(mk, near, _ASINH, lanes))
    return turned(found, sign_bit(x, lanes), lanes)


def acosh(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """Return ln(x + √(x² - 1)), near 1 a root times a polynomial; NaN below 1."""
    root = _root(approximate_fma(mk, x, x, constant(-1.0, lanes), lanes), lanes)
    far = _log_of_sum(mk, x, root, lanes)
    above = let(x - constant(1.0, lanes))
    near = let(minimum(constant(0.5, lanes), above))
    found = _root(near, lanes) * polynomial(mk, near, _ACOSH, lanes)
    return select(above > constant(0.5, lanes), far, found)


def _log_of_sum(mk: MicroKernel, x: Expr, root: Expr, lanes: int) -> Expr:
    """Return ln(x + root), where the root is x if x is far."""
    far = x > constant(_FAR, lanes)
    doubled = select(far, constant(math.log(2), lanes), constant(0.0, lanes))
    return log(mk, let(select(far, x, x + root)), lanes) + doubled


def atanh(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """Return ln((1 + x) / (1 - x)) / 2, and near 0 a polynomial; NaN beyond 1."""
    size, one = let(absolute(x, lanes)), constant(1.0, lanes)
    far = log(mk, let((one + size) / (one - size)), lanes) * constant(0.5, lanes)
    near = let(minimum(constant(0.5, lanes), size))
    found = select(size < constant(0.5, lanes), _odd(mk, near, _ATANH, lanes), far)
    return turned(found, sign_bit(x, lanes), lanes)

"""gemmlowp's exponential, logistic function and tanh of fixed-point numbers, in numpy.

A number with `b` integer bits is an int32 that stands for itself times 2^(b - 31).
Source: gemmlowp, fixedpoint/fixedpoint.h.
"""

import numpy as np

from edgekiln.compiler.onnx_model.tflite.fixed_point import (
    Ints,
    divided_by_power,
    doubling_high_product,
)

ONE = (1 << 31) - 1  # with no integer bits: as near to 1 as there is
_LEAST = -(1 << 31)

_EXP_OF_MINUS_EIGHTH = 1895147668
_THIRD = 715827883
# exp(-2^k) for k from -2 on.
_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
_48_OVER_17, _MINUS_32_OVER_17 = 1515870810, -1010580540  # with two integer bits


def exponential(a: Ints, bits: int) -> Ints:
    """exp(a) for a ≤ 0 with `bits` integer bits; the result has none."""
    fraction = 31 - bits
    quarter = np.int64(1) << (fraction - 2)
    rest = (a & (quarter - 1)) - quarter  # in [-1/4, 0)
    result = _on_the_last_quarter(_shifted_left(rest, bits))
    missing = rest - a
    for power, factor in enumerate(_POWERS, -2):
        if bits > power:
            there = missing & (np.int64(1) << (fraction + power)) != 0
            result = np.where(there, doubling_high_product(result, np.int64(factor)), result)
    if bits > 5:
        result = np.where(a < -(np.int64(1) << (fraction + 5)), 0, result)
    return np.where(a == 0, ONE, result)


def reciprocal_of_one_plus(a: Ints) -> Ints:
    """1 / (1 + a) for a in [0, 1], neither of which has integer bits."""
    return _shifted_left(_newton(a), 1)


def logistic(a: Ints, bits: int) -> Ints:
    """1 / (1 + exp(-a)), without integer bits."""
    positive = reciprocal_of_one_plus(exponential(-np.abs(a), bits))
    return np.where(a == 0, 1 << 30, np.where(a > 0, positive, ONE - positive))


def hyperbolic_tangent(a: Ints, bits: int) -> Ints:
    """tanh(a), without integer bits."""
    of_twice = exponential(-np.abs(a), bits + 1)  # the same bits mean twice the number
    positive = _shifted_left(_newton(of_twice) - (1 << 29), 2)
    return np.sign(a) * positive


def _on_the_last_quarter(a: Ints) -> Ints:
    """exp(a) for a in [-1/4, 0), by its series around -1/8."""
    x = a + (1 << 28)
    x2 = doubling_high_product(x, x)
    x3, x4 = doubling_high_product(x2, x), doubling_high_product(x2, x2)
    third = doubling_high_product(divided_by_power(x4, 2) + x3, np.int64(_THIRD))
    series = x + divided_by_power(third + x2, 1)
    return _EXP_OF_MINUS_EIGHTH + doubling_high_product(np.int64(_EXP_OF_MINUS_EIGHTH), series)


def _newton(a: Ints) -> Ints:
    """2 / (1 + a) for a in [0, 1], with two integer bits."""
    half = a + ONE
    half = (half + np.where(half >= 0, 1, -1)) // 2  # never below 0: a + 1 is not
    x = _48_OVER_17 + doubling_high_product(half, np.int64(_MINUS_32_OVER_17))
    for _ in range(3):
        error = (1 << 29) - doubling_high_product(half, x)
        x = x + _shifted_left(doubling_high_product(x, error), 2)
    return x


def _shifted_left(a: Ints, bits: int) -> Ints:
    return np.clip(a << bits, _LEAST, ONE)

"""gemmlowp's exponential of fixed-point numbers, and TFLite's softmax of codes by it, in numpy.

A number with `b` integer bits is an int32 that stands for itself times 2^(b - 31).
Source: gemmlowp, fixedpoint/fixedpoint.h; tflite/kernels/internal/reference/softmax.h.
"""

import math

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.tflite.fixed_point import (
    Ints,
    divided_by_power,
    doubling_high_product,
    quantized_multiplier,
    rounded_twice,
)

SUM_BITS = 12  # integer bits of a row's sum
_BITS = 5  # of a difference times the scale

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
    result = _on_the_last_quarter(_saturated(rest << bits))
    missing = rest - a
    for power, factor in enumerate(_POWERS, -2):
        if bits > power:
            there = missing & (np.int64(1) << (fraction + power)) != 0
            result = np.where(there, doubling_high_product(result, np.int64(factor)), result)
    if bits > 5:
        result = np.where(a < -(np.int64(1) << (fraction + 5)), 0, result)
    return np.asarray(np.where(a == 0, ONE, result))


def reciprocal_of_one_plus(a: Ints) -> Ints:
    """1 / (1 + a) for a in [0, 1], neither of which has integer bits."""
    return _saturated(_newton(a) << 1)


def powers(scale: float) -> NDArray[np.int32]:
    """(256,) exp(-d · scale) without integer bits, for a code that is d below the largest; 0 where
    TFLite leaves a code out.

    Args:
        scale: of the codes, times beta.
    """
    largest = (1 << 31) - 1.0
    integer, shift = quantized_multiplier(min(scale * (1 << 31 - _BITS), largest))
    # So many steps stay inside the integer bits.
    inside = math.floor(((1 << _BITS) - 1) * (1 << 31 - _BITS) / 2.0**shift)
    steps = -np.arange(256, dtype=np.int64)
    counted = -steps <= inside
    scaled = rounded_twice(np.where(counted, steps, 0), integer, shift)
    return np.where(counted, exponential(scaled, _BITS), 0).astype(np.int32)


def softmax(codes: Ints, of_steps: NDArray[np.int32]) -> Ints:
    """Rows of 256ths, 0 to 255. `of_steps` are the `powers` of their scale."""
    terms = of_steps.astype(np.int64)[codes.max(-1, keepdims=True) - codes]
    total = divided_by_power(terms, SUM_BITS).sum(-1, keepdims=True)
    room = 32 - np.floor(np.log2(total.astype(np.float64))).astype(np.int64) - 1
    factor = reciprocal_of_one_plus((total << room) - (1 << 31))
    quotients = divided_by_power(doubling_high_product(factor, terms), SUM_BITS - room + 31 - 8)
    return np.minimum(quotients, 255)


def _on_the_last_quarter(a: Ints) -> Ints:
    """exp(a) for a in [-1/4, 0), by its series around -1/8."""
    x = a + (1 << 28)
    x2 = doubling_high_product(x, x)
    x3, x4 = doubling_high_product(x2, x), doubling_high_product(x2, x2)
    third = doubling_high_product(divided_by_power(x4, 2) + x3, np.int64(_THIRD))
    series = x + divided_by_power(third + x2, 1)
    factor = np.asarray(_EXP_OF_MINUS_EIGHTH, np.int64)
    return factor + doubling_high_product(factor, series)


def _newton(a: Ints) -> Ints:
    """2 / (1 + a) for a in [0, 1], with two integer bits."""
    half = a + ONE
    half = (half + np.where(half >= 0, 1, -1)) // 2  # never below 0: a + 1 is not
    x = _48_OVER_17 + doubling_high_product(half, np.int64(_MINUS_32_OVER_17))
    for _ in range(3):
        error = (1 << 29) - doubling_high_product(half, x)
        x = x + _saturated(doubling_high_product(x, error) << 2)
    return x


def _saturated(a: Ints) -> Ints:
    return np.asarray(np.clip(a, _LEAST, ONE))

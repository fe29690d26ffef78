"""The fixed-point arithmetic of TFLite's reference kernels, in numpy.

A real factor is an integer of 31 bits and a shift. Reference kernels round the product in one of
two ways: in two steps, as gemmlowp does (the doubled product's upper half, then a division by a
power of two), or once, half away from zero.
Source: tflite/kernels/internal/common.h, quantization_util.cc; which kernel rounds how was found by
running them (LiteRT 2.3).
"""

import math

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Each = Ints | np.int64 | int  # one number for all, or one each

_ONE = 1 << 31


def quantized_multiplier(real: float) -> tuple[int, int]:
    """The integer and the shift of a factor: real ≈ integer · 2^(shift - 31), integer < 2³¹."""
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    integer = math.floor(fraction * _ONE + 0.5)
    if integer == _ONE:
        integer, shift = integer // 2, shift + 1
    # Too small to count; and what is too large for 32 bits is the largest.
    if shift < -31:
        return 0, 0
    return (_ONE - 1, 30) if shift > 30 else (integer, shift)


def doubling_high_product(a: Ints, b: Each) -> Ints:
    """The upper 32 bits of 2·a·b, rounded half up; the product of -2³¹ with itself saturates."""
    return np.asarray(np.minimum((a * b + (1 << 30)) >> 31, _ONE - 1))


def divided_by_power(x: Ints, exponent: NDArray[np.int64] | int) -> Ints:
    """x / 2^exponent, rounded half away from zero."""
    exponent = np.asarray(exponent, np.int64)
    half = np.where(exponent > 0, np.int64(1) << np.maximum(exponent - 1, 0), 0)
    return np.asarray(np.sign(x) * ((np.abs(x) + half) >> exponent))


def rounded_twice(x: Ints, integer: Each, shift: Each) -> Ints:
    """x times a factor, as `MultiplyByQuantizedMultiplier` of gemmlowp."""
    shift = np.asarray(shift, np.int64)
    high = doubling_high_product(x << np.maximum(shift, 0), np.asarray(integer, np.int64))
    return divided_by_power(high, np.maximum(-shift, 0))


def rounded_once(x: Ints, integer: Each, shift: Each) -> Ints:
    """x times a factor, half away from zero."""
    return divided_by_power(x * np.asarray(integer, np.int64), 31 - np.asarray(shift, np.int64))

"""Weights of four bits: which have them, and what a code of theirs may be."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NARROW_BITS = 4
LEAST, MOST = -(1 << NARROW_BITS - 1), (1 << NARROW_BITS - 1) - 1
# A layer with fewer weights would save less than the code takes that decodes them.
LEAST_WEIGHTS = 1024


def pay(shape: Sequence[int]) -> bool:
    """Whether four bits pay for weights of this shape: there are enough of them, and they are not
    of a depthwise convolution, (channels, 1, …), which has few and loses most.
    """
    return math.prod(shape) >= LEAST_WEIGHTS and not (len(shape) > 2 and shape[1] == 1)


def bits_of(shape: Sequence[int], bits: int, whole: int) -> int:
    """Bits of weights of this shape.

    Args:
        bits: that were asked for.
        whole: of the weights for which four do not pay.
    """
    return whole if bits == NARROW_BITS and not pay(shape) else bits


def hold(weights: NDArray[np.generic]) -> bool:
    """Whether four bits hold weights of int8, and pay for them."""
    if weights.dtype != np.int8 or not pay(weights.shape):
        return False
    return bool(weights.min() >= LEAST and weights.max() <= MOST)


def unpacked(packed: NDArray[np.generic], bits: int = NARROW_BITS) -> NDArray[np.uint8]:
    """The codes of bytes, the lowest bits of each first, along the last axis."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (packed.astype(np.uint8)[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    found: NDArray[np.uint8] = codes.reshape(*packed.shape[:-1], -1)
    return found


def signed(codes: NDArray[np.uint8]) -> NDArray[np.int8]:
    """What codes of four bits are in two's complement."""
    return (codes.view(np.int8) ^ np.int8(-LEAST)) + np.int8(LEAST)

"""The int32 sums of a convolution: what they start from, and when their bits can be floats.

A result whose zero point and lowest code are 0, as after a ReLU, is max(0, s·m) of a sum s, rounded
and saturated. Started from the bits of the float32 2²³ a sum needs no conversion: for s ≥ 0 its
bits are the s-th float from there on, f(s), and for s < 0 a float in [0, 2²³). With m ≥ 0

    fma(f(s), m, -2²³·m) = (f(s) - 2²³)·m, rounded once: 2²³·m is exact

    s < 0            at most 0, as s·m is: both saturate to the code 0
    0 ≤ s ≤ 2²³      f(s) = 2²³ + s, for floats are 1 apart there: the bits of float32(s)·m
    s > 2²³          f(s) > 2²³ + s, so both are at least 2²³·m; saturated if that is 255 or more

The bits stay those of a finite float ≥ 0 while -START ≤ s < _INFINITE - START. `is_rectified` looks
whether all of that holds for every sum that the layer's weights can make.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.compiler.kernels.conv2d.kernel import Conv2d
    from edgekiln.compiler.kernels.depthwise.kernel import Depthwise2d

START = 0x4B000000  # the bits of 2²³
_INFINITE = 0x7F800000  # the bits of the first number that is no finite float
_ONES = 2.0**23  # up to here sums are floats 1 apart
_FAR = 2.0**30  # floats below it become int32, rounded in any way


def folded_bias(conv: "Conv2d | Depthwise2d") -> "NDArray[np.int64]":
    """bias - zero point · Σ weight: sums that start from it need no subtraction. int64: kernels
    take it modulo 2³².
    """
    total = conv.weight.sum(axis=(1, 2, 3), dtype=np.int64)
    folded: NDArray[np.int64] = conv.bias - conv.x.zero_point * total
    return folded


def sum_range(weight: "NDArray[Any]") -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """The least and the largest sum of codes, 0 to 255, times the weights of each channel."""
    least, most = (
        255 * part.sum(axis=(1, 2, 3), dtype=np.int64)
        for part in (weight.clip(max=0), weight.clip(min=0))
    )
    return least, most


def is_rectified(conv: "Conv2d | Depthwise2d") -> bool:
    """Whether y is max(0, sum · mult), and the sums may be floats by their bits."""
    y, mult = conv.y, conv.mult.astype(np.float64)
    if y.dtype != "uint8" or conv.residual or not y.zero_point == conv.clip[0] == 0:
        return False
    least, most = (folded_bias(conv) + end for end in sum_range(conv.weight))
    counts = mult > 0  # 0 times any bits at all is the code 0
    least, most, mult = least[counts], most[counts], mult[counts]
    if not ((least >= -START) & (most < _INFINITE - START) & (mult < _FAR)).all():
        return False
    largest = (START + most.clip(min=0)).astype(np.int32).view(np.float32).astype(np.float64)
    exact = (most <= _ONES) | (mult * _ONES >= 255)
    return bool((exact & ((largest - _ONES) * mult < _FAR)).all())

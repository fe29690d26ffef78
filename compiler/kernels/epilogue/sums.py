"""The sums of a layer: what they start from, and when the bits of int32 sums can be floats.

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

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc

Weights = NDArray[np.int8] | NDArray[np.float32]
Bias = NDArray[np.int32] | NDArray[np.float32]

START = 0x4B000000  # the bits of 2²³
_INFINITE = 0x7F800000  # the bits of the first number that is no finite float
_ONES = 2.0**23  # up to here sums are floats 1 apart
_FAR = 2.0**30  # floats below it become int32, rounded in any way
_MOST_CODE = 255  # whatever the type: sums are bounded as if codes were unsigned


@dataclass(frozen=True, kw_only=True)
class ResidualOperand:
    """Fuses `Add(a=result, b=tensor)` into the producer of `result`: the bits of the two kernels.

    Args:
        tensor: what is added.
        scale, zero_point, clip: of the result that is no longer stored; of floats its clip alone.
    """

    SIGNED_AS: ClassVar[str] = "Residual"

    tensor: Nhwc
    scale: float = 1.0
    zero_point: int = 0
    clip: tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """The sums bias + Σ (x - zero point)·weight, channel by channel, and where the results go.

    Args:
        x: with a halo that no tap of a filter leaves.
        weight: (OC, IC / groups, KH, KW), int8 or float32.
        bias: (OC,) int32 in units of s_x·s_w, or float32.
        residual: what is added to the results before they are stored.
    """

    x: Nhwc
    y: Nhwc
    weight: Weights
    bias: Bias
    residual: ResidualOperand | None = None


def folded_bias(sums: Sums, offset: int = 0) -> NDArray[np.int64]:
    """Return bias - zero point · Σ weight: sums that start from it need no subtraction. Kernels
    take it modulo 2³².

    Args:
        offset: by how much codes are too small when they are multiplied.
    """
    total = sums.weight.sum(axis=(1, 2, 3), dtype=np.int64)
    folded: NDArray[np.int64] = sums.bias.astype(np.int64) - (sums.x.zero_point - offset) * total
    return folded


def sum_range(weight: Weights) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The least and the largest sum of codes, 0 to 255, times the weights of each channel."""
    least, most = (
        _MOST_CODE * part.sum(axis=(1, 2, 3), dtype=np.int64)
        for part in (weight.clip(max=0), weight.clip(min=0))
    )
    return least, most


def is_rectified(sums: Sums, mult: NDArray[np.float32], clip: tuple[int, int]) -> bool:
    """Whether y is max(0, sum · mult), and the sums may be floats by their bits.

    Args:
        mult: (OC,), see `onnx_model.requantize.multiplier`.
        clip: lowest and highest code of y.
    """
    y, exact_mult = sums.y, mult.astype(np.float64)
    if y.dtype != "uint8" or sums.residual or not y.zero_point == clip[0] == 0:
        return False
    least, most = (folded_bias(sums) + end for end in sum_range(sums.weight))
    counts = exact_mult > 0  # 0 times any bits at all is the code 0
    least, most, exact_mult = least[counts], most[counts], exact_mult[counts]
    if not ((least >= -START) & (most < _INFINITE - START) & (exact_mult < _FAR)).all():
        return False
    largest = (START + most.clip(min=0)).astype(np.int32).view(np.float32).astype(np.float64)
    exact = (most <= _ONES) | (exact_mult * _ONES >= _MOST_CODE)
    return bool((exact & ((largest - _ONES) * exact_mult < _FAR)).all())

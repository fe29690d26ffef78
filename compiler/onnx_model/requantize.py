"""Factors from sums to codes: ONNX Runtime's, and integers that give the same codes for every sum.

What ONNX Runtime computes, rint(float32(sum) · mult) steps from the zero point, is a staircase: a
step c is reached by the sums from a least one t(c) on. So is

    (half + ⌊sum · factor / 2³²⌋) >> shift,    half = 2^(shift - 1)

from the least sum with sum · factor ≥ c · 2^(32 + shift) - half · 2³² = edge(c) on, for a floor of
a floor is one. The two stairs are equal where t(c) reaches edge(c) and t(c) - 1 does not: two
bounds of the factor for each c. If they leave one, then nothing is approximated. One channel in ten
has none, for float32 rounds a few products to c + ½ itself, and those to even steps: some up, some
down. Another `mult`, a few of its last places away, then has one.

Nothing leaves int32, whatever the sum: |sum| ≤ 2³¹ and a factor below that give a floor of at most
2³⁰, and what the zero point adds is less than 2²³, for a shift is at most 16.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_SHIFT = 16  # edges of 8 bits and their signs stay inside int64
NONE = -1  # where there is no factor
_NEAR = 2  # sums between the computed place of a step and float32's own, at most
_FAR = 2**31  # no sum
_MOST_FACTOR = 2**31 - 1


def multiplier(
    x_scale: float, weight_scale: float | NDArray[np.float32], y_scale: float | None
) -> NDArray[np.float32]:
    """Per-channel factor from int32 sums to y: float32(float32(s_x·s_w) / s_y), as in MLAS.

    Args:
        y_scale: None when the result is dequantized: float32(s_x·s_w).
    """
    product = np.float32(x_scale) * np.asarray(weight_scale, np.float32)
    return np.atleast_1d(product if y_scale is None else product / np.float32(y_scale))


@dataclass(frozen=True, kw_only=True, eq=False)
class WholeFactors:
    """See the module.

    Args:
        factors: (OC,) int32.
        shift: 1 or more.
    """

    factors: NDArray[np.int32]
    shift: int

    @property
    def erased(self) -> "WholeFactors":
        """What stands for all with the same code, for factors lie in memory."""
        return WholeFactors(factors=np.zeros_like(self.factors), shift=self.shift)


def shift_for(mult: NDArray[np.float32]) -> int:
    """The largest with which the factors of a layer are int32; 0 where there is none."""
    most = float(mult.max())
    return min(math.floor(-math.log2(most)) - 1, _MOST_SHIFT) if 0 < most < 1 else 0


def whole_factors(
    mult: NDArray[np.float32], steps: NDArray[np.int64], shift: int
) -> NDArray[np.int64]:
    """Each channel's factor, `NONE` where there is none; (OC,).

    Args:
        mult: (OC,), from sums to steps.
        steps: of all codes but the lowest, from the zero point on.
        shift: 1 or more.
    """
    with np.errstate(divide="ignore"):
        places = np.ceil((steps - 0.5) / mult.astype(np.float64)[:, None])
    # A channel whose mult is almost 0 has no stairs, for no sum is so large.
    around = np.clip(places, -_FAR, _FAR).astype(np.int64)[..., None] + np.arange(-_NEAR, _NEAR + 1)
    reached = np.rint(around.astype(np.float32) * mult[:, None, None]) >= steps[:, None]
    far = abs(places) >= _FAR
    found = (~reached[..., 0] & reached[..., -1]) | far
    first = around[..., 0] + reached.argmax(axis=-1)
    edges = np.broadcast_to((steps << (32 + shift)) - (1 << (31 + shift)), first.shape)
    low, high = np.int64(0), np.int64(_MOST_FACTOR)
    # The first sum of a step reaches its edge; that of the sum before it stays below, as if all
    # signs were turned.
    for sums, edge in ((first, edges), (1 - first, 1 - edges)):
        divisors = np.where(sums == 0, 1, sums)
        above = np.where(~far & (sums > 0), -(-edge // divisors), 0)
        # A negative sum is at most so large; and 0 reaches nothing above 0.
        below = np.where(~far & (sums < 0), edge // divisors, _MOST_FACTOR)
        below = np.where((sums == 0) & (edge > 0), NONE, below)
        low, high = np.maximum(low, above.max(axis=1)), np.minimum(high, below.min(axis=1))
    exact = np.rint(np.ldexp(mult.astype(np.float64), 32 + shift)).astype(np.int64)
    serves = (low <= high) & found.all(axis=1)
    return np.where(serves, np.clip(exact, low, high), NONE)

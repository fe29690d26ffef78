"""Sums of two tensors' codes by integers, where these give float32's code for every pair of codes.

A sum is rint(fma(a, r, float32(b · s))) steps from the zero point, of steps a and b from the zero
points of its operands, by the ratios r and s of scales. There are 65,536 pairs: whether

    (start + ⌊a · f / 2⁹⌋ + ⌊b · g / 2⁹⌋) >> shift

has the same code for each is looked at, pair by pair. It nearly always has: integers are as close
as 2^-shift, and float32 rounds few sums to c + ½.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_SHIFT = 22
_STEP_BITS = 9  # of a step: a product with a factor of 31 bits is 2⁹ times too large
_NUDGES = (1, 0, 2)  # two floors take one, on average


@dataclass(frozen=True, kw_only=True)
class SumFactors:
    """See the module.

    Args:
        factors: of both operands, int32.
        shift: 1 or more.
    """

    factors: tuple[int, int]
    start: int
    shift: int

    @property
    def erased(self) -> "SumFactors":
        """What stands for all with the same code, for the others lie in memory."""
        return SumFactors(factors=(0, 0), start=0, shift=self.shift)


def sum_factors(
    ratios: tuple[np.float32, np.float32], zeros: tuple[int, int], zero: int
) -> SumFactors | None:
    """Integers for a sum of int8 codes, saturated; None where there are none.

    Args:
        ratios: of each operand's scale to the sum's.
        zeros: the zero points of the operands.
        zero: that of the sum.
    """
    largest = max(map(float, ratios))
    if not 0 < largest < 2.0**_STEP_BITS:
        return None
    # Factors have 31 bits, and so has what is shifted.
    most = 256 * float(ratios[0]) + 256 * float(ratios[1]) + 256
    shift = min(
        _MOST_SHIFT,
        31 - _STEP_BITS - 1 - max(-1, math.floor(math.log2(largest))),
        30 - math.ceil(math.log2(most)),
    )
    if shift < 1:
        return None
    a, b = (np.arange(-128, 128, dtype=np.int64) - each for each in zeros)
    expected = _codes(_float_steps(a, b, ratios), zero)
    factors = [round(float(each) * 2.0 ** (shift + _STEP_BITS)) for each in ratios]
    of_a, of_b = (
        steps * factor >> _STEP_BITS for steps, factor in zip((a, b), factors, strict=True)
    )
    half = (2 * zero + 1) << (shift - 1)
    for nudge in _NUDGES:
        whole = (half + nudge + of_a[:, None] + of_b) >> shift
        if (np.clip(whole, -128, 127) == expected).all():
            first, second = factors
            return SumFactors(factors=(first, second), start=half + nudge, shift=shift)
    return None


def _float_steps(
    a: NDArray[np.int64], b: NDArray[np.int64], ratios: tuple[np.float32, np.float32]
) -> NDArray[np.float64]:
    """The sums in float32, rounded half to even."""
    scaled = b.astype(np.float32) * ratios[1]
    exact = _to_odd(a.astype(np.float64)[:, None] * np.float64(ratios[0]), scaled)
    return np.rint(exact.astype(np.float32)).astype(np.float64)


def _to_odd(product: NDArray[np.float64], summand: NDArray[np.float32]) -> NDArray[np.float64]:
    """The sum, rounded so that to round it to float32 is right, see `targets.isa.fused`."""
    y = summand.astype(np.float64)
    total = product + y
    share = total - product
    rest = (product - (total - share)) + (y - share)
    bits = total.view(np.int64)
    away = np.where((rest > 0) == (total > 0), 1, -1)
    odd: NDArray[np.float64] = np.where((rest != 0) & (bits & 1 == 0), bits + away, bits)
    return odd.view(np.float64)


def _codes(steps: NDArray[np.float64], zero: int) -> NDArray[np.int64]:
    return np.clip(steps + zero, -128, 127).astype(np.int64)

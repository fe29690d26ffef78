"""Factors that are integers and shifts: what TFLite's kernels multiply sums by."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# "twice": the doubled product's upper half, rounded half up, then a division by a power of two,
# rounded half away from zero. "once": the whole product, rounded half away from zero.
Rounding = Literal["twice", "once"]


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedPoint:
    """Factors integer · 2^(shift - 31), one a channel or one for all.

    Args:
        integers: (C,) or (1,), from 2³⁰ to 2³¹ - 1, or 0.
        shifts: shaped alike, from -31 to 30.
    """

    integers: NDArray[np.int32]
    shifts: NDArray[np.int32]
    rounding: Rounding = "twice"

    @property
    def size(self) -> int:
        """How many factors there are."""
        return self.integers.size

    @property
    def lifts(self) -> bool:
        """Whether some factor is 1 or more, so that sums are shifted left."""
        return bool((self.shifts > 0).any())

    @property
    def erased(self) -> "FixedPoint":
        """Factors that stand for all with the same code."""
        shifts = np.full_like(self.shifts, 1 if self.lifts else 0)
        return FixedPoint(
            integers=np.zeros_like(self.integers), shifts=shifts, rounding=self.rounding
        )

    def __str__(self) -> str:
        return f"fixed[{self.size}] {self.rounding}"

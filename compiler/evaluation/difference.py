"""How far two computations of one tensor are apart, values that are no numbers included."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A number against NaN or an infinity, or two infinities of different sign, count as this far apart:
# as far as float32 goes. JSON has no infinity.
APART = float(np.finfo(np.float32).max)
_LARGEST = 1e140  # its square is still a number; float32 ends at 3.4e38


@dataclass
class Difference:
    """Sums over as many pieces of a tensor as are added."""

    elements: int = 0
    differing: int = 0
    max_abs: float = 0.0
    signal: float = 0.0  # sum of the reference's squares
    noise: float = 0.0  # sum of the differences' squares

    def add(self, ours: "NDArray[np.generic]", reference: "NDArray[np.generic]") -> None:
        """Two of one shape. NaN equals NaN, and infinities of one sign are equal."""
        a, b = ours.astype(np.float64), reference.astype(np.float64)
        equal = (a == b) | (np.isnan(a) & np.isnan(b))
        finite = np.isfinite(a) & np.isfinite(b)
        with np.errstate(invalid="ignore", over="ignore"):
            gap = np.where(equal, 0.0, np.where(finite, np.abs(a - b), APART))
        gap = np.minimum(gap, _LARGEST)
        known = np.clip(np.where(np.isfinite(b), b, 0.0), -_LARGEST, _LARGEST)
        self.elements += gap.size
        self.differing += int((~equal).sum())
        self.max_abs = max(self.max_abs, float(gap.max(initial=0.0)))
        self.signal += float((known**2).sum())
        self.noise += float((gap**2).sum())

    @property
    def sqnr_db(self) -> float | None:
        """Signal to noise; None: there is no difference."""
        if not self.noise:
            return None
        return float(10 * np.log10(max(self.signal / self.noise, 1e-30)))

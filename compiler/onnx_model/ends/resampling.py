"""Weights of Pillow's bilinear resizing, which reduces as well as it enlarges.

Source: Pillow, Resample.c: precompute_coeffs, bilinear_filter, normalize_coeffs_8bpc.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNIT = 1 << 22  # a weight of one


@dataclass(frozen=True, kw_only=True, eq=False)
class Resampling:
    """Along one axis: a new pixel is Σ weights[i] · pixels[starts + i] / 2²², rounded half up.

    Args:
        starts: (after,), each at least 0.
        weights: (after, taps) int32, none below 0; starts + taps is inside of what there is.
    """

    starts: NDArray[np.int32]
    weights: NDArray[np.int32]

    @property
    def places(self) -> NDArray[np.int64]:
        """(after, taps): the pixels that are weighted."""
        return self.starts[:, None].astype(np.int64) + np.arange(self.weights.shape[1])


def bilinear(before: int, after: int) -> Resampling:
    """Make `after` pixels of a row of `before`."""
    scale = before / after
    reach = max(scale, 1.0)  # of the triangle, on either side
    rows = []
    for place in range(after):
        center = (place + 0.5) * scale
        first = max(int(center - reach + 0.5), 0)
        last = min(int(center + reach + 0.5), before)
        distance = np.abs((np.arange(first, last) - center + 0.5) / reach)
        weights = np.where(distance < 1, 1 - distance, 0.0)
        rows.append((first, np.floor(0.5 + weights / weights.sum() * UNIT).astype(np.int32)))
    taps = max(len(weights) for _, weights in rows)
    starts = np.array([min(first, before - taps) for first, _ in rows], np.int32)
    table = np.zeros((after, taps), np.int32)
    for place, (first, weights) in enumerate(rows):
        begin = first - starts[place]  # near the end a row begins earlier, for all to be as long
        table[place, begin : begin + len(weights)] = weights
    return Resampling(starts=starts, weights=table)

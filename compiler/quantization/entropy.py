"""Entropy: the range whose quantized values tell the most about the real ones."""

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.quantization.ranges import BINS, Histogram, Range

LEVELS = 256  # of 8 bits
_STEP = 8  # bins between two candidates: an eighth of a level at the full range
_SMOOTHING = 1e-4  # a level that lost all its values still has this much, so KL stays finite


def entropy_range(histogram: Histogram) -> Range:
    """Minimise KL(P || Q) over thresholds on the magnitude.

    P is the histogram inside the range with the clipped values added to its outermost bins; Q is
    the same without them, merged into 256 levels, each spread evenly over its bins that hold
    values. The method is Migacz, 8-bit Inference with TensorRT, GTC 2017, slides 36–41, with the
    range asymmetric and exact zeros left out: they are exact at every scale. Where single values
    hold much of the mass (images with even backgrounds) it can clip far too much; SQNR shows it.
    """
    if not histogram.counts.any():
        return histogram.low, histogram.high
    width = (histogram.high - histogram.low) / BINS
    best, chosen = np.inf, (histogram.low, histogram.high)
    # From the whole range inwards, the threshold in bins.
    for bins in range(round(histogram.largest / width), 0, -_STEP):
        low, high = histogram.clipped_to(bins * width)
        first = round((low - histogram.low) / width)
        last = round((high - histogram.low) / width)
        # Fewer bins than levels: nothing is merged any more, so the divergence would say nothing.
        if last - first < LEVELS:
            break
        divergence = _divergence(histogram.counts, first, last)
        if divergence < best:
            best, chosen = divergence, (low, high)
    return chosen


def _divergence(counts: NDArray[np.int64], first: int, last: int) -> float:
    """KL in nats of quantizing bins first…last into `LEVELS` levels and clipping the others."""
    inside = counts[first:last].astype(np.float64)
    reference = inside.copy()
    # What is clipped lands on the outermost levels.
    reference[0] += counts[:first].sum()
    reference[-1] += counts[last:].sum()
    if not inside.any():
        return np.inf
    # (bins,): the level that each bin is merged into.
    level = np.arange(len(inside)) * LEVELS // len(inside)
    holds = inside > 0
    mass = np.bincount(level, weights=inside, minlength=LEVELS)
    spread = np.bincount(level, weights=holds, minlength=LEVELS)
    quantized = np.where(holds, (mass / np.maximum(spread, 1))[level], 0.0)
    p, q = _smooth(reference), _smooth(quantized)
    return float(np.sum(p * np.log(p / q)))


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = values / values.sum() + _SMOOTHING / len(values)
    smoothed: NDArray[np.float64] = raised / raised.sum()
    return smoothed

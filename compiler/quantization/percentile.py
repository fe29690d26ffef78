"""Percentile: the range that all but a given share of the values lie in."""

import numpy as np

from edgekiln.compiler.quantization.ranges import Histogram, Range


def percentile_range(histogram: Histogram, percentile: float) -> Range:
    """Cut the same share, (100 - percentile) / 2 percent, off either tail.

    This is ONNX Runtime's definition (`PercentileCalibrater`, asymmetric). Zeros count, and 0 stays
    inside the range. Accurate to one bin.
    """
    counts = histogram.counts.copy()
    edges = histogram.edges
    home_of_zero = int(np.searchsorted(edges, 0.0, side="right")) - 1
    # Zeros were counted apart: here they go to the bin that holds 0, the last one if that ends at
    # 0.
    counts[min(home_of_zero, len(counts) - 1)] += histogram.zeros
    total = counts.sum()
    if not total:
        return histogram.low, histogram.high
    # Percents become a fraction, half of it for either tail.
    tail = (100.0 - percentile) / 200.0
    below = np.concatenate(([0], np.cumsum(counts))) / total
    # The last edge with at most `tail` below it, the first with at most `tail` above it.
    low = edges[int(np.searchsorted(below, tail, side="right")) - 1]
    high = edges[min(int(np.searchsorted(below, 1.0 - tail)), len(edges) - 1)]
    return min(float(low), 0.0), max(float(high), 0.0)

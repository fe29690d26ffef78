"""MSE: the range with the smallest mean squared error of rounding and clipping together."""

import numpy as np

from edgekiln.compiler.quantization.ranges import Histogram, Range

_LEVELS = 256
_CANDIDATES = 256


def mse_range(histogram: Histogram) -> Range:
    """Minimise  N_in · Δ² / 12  +  Σ_out count · (|x| − T)²  over thresholds T on the magnitude.

    Δ = (high − low) / 255 is the step, Δ² / 12 the variance of uniform rounding noise. The split
    into rounding and clipping noise is Banner et al., Post training 4-bit quantization of
    convolutional networks, 2019 (arXiv:1810.05723), section 2, on the histogram instead of a
    fitted density. Exact zeros are left out: they are exact at every scale.
    """
    if not histogram.counts.any():
        return histogram.low, histogram.high
    counts = histogram.counts.astype(np.float64)
    magnitude = np.abs(histogram.centers)
    best, chosen = np.inf, (histogram.low, histogram.high)
    for step in range(_CANDIDATES, 0, -1):
        threshold = histogram.largest * step / _CANDIDATES
        low, high = histogram.clipped_to(threshold)
        outside = magnitude > threshold
        rounding = counts[~outside].sum() * ((high - low) / (_LEVELS - 1)) ** 2 / 12.0
        clipping = np.sum(counts[outside] * (magnitude[outside] - threshold) ** 2)
        if rounding + clipping < best:
            best, chosen = rounding + clipping, (low, high)
    return chosen

"""Factors from one scale to another, with the roundings of ONNX Runtime's integer kernels."""

from functools import cache

import numpy as np

# Nothing that decides a product with the reciprocal of such a scale underflows or overflows.
_USUAL_SCALES = (2.0**-100, 2.0**100)


def ratio(numerator: float, denominator: float) -> np.float32:
    """The quotient of two scales in float32."""
    return np.float32(numerator / denominator)


@cache  # of 65,536 codes this takes a while
def divided_by_reciprocal(scale: float, codes: int = 256) -> bool:
    """Whether products with the scale's reciprocal have the codes of quotients, as nearly always.

    A code changes at k + ½. So it is the same unless a quotient lies where rounding to float32
    would begin to reach k + ½, half way to one of its neighbours, as closely as the product is
    exact. Of such a place times the scale (exact in float64) the nearest dividend tells.

    Args:
        codes: how many there are.
    """
    low, high = _USUAL_SCALES
    if not low < scale < high:
        return False
    # The places where codes change: halves, by distance from the zero point.
    halves = np.arange(codes, dtype=np.float32) + np.float32(0.5)
    beside = np.stack([np.nextafter(halves, np.float32(end)) for end in (0, 2 * codes)])
    places = (halves.astype(np.float64) + beside) / 2 * scale
    nearest = places.astype(np.float32).astype(np.float64)
    return bool((abs(nearest - places) > places * 2.0**-46).all())

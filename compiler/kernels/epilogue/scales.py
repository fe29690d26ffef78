"""Factors from one scale to another, with the roundings of ONNX Runtime's integer kernels."""

import numpy as np
from numpy.typing import NDArray


def multiplier(
    x_scale: float, weight_scale: float | NDArray[np.float32], y_scale: float | None
) -> NDArray[np.float32]:
    """Per-channel factor from int32 sums to y: float32(float32(s_x·s_w) / s_y), as in MLAS.

    Args:
        y_scale: None when the result is dequantized: float32(s_x·s_w).
    """
    product = np.float32(x_scale) * np.asarray(weight_scale, np.float32)
    return np.atleast_1d(product if y_scale is None else product / np.float32(y_scale))


def ratio(numerator: float, denominator: float) -> np.float32:
    """The quotient of two scales in float32."""
    return np.float32(numerator / denominator)

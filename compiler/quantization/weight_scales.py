"""Scales of weights: by the mean squared error of rounding and clipping together, or so that the
largest weight has the largest code.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.quantization.products import (
    ModelWeights,
    RoundedWeights,
    from_rows,
    in_rows,
    most_code,
    products,
    real_weights,
)

if TYPE_CHECKING:
    import onnx

_LEAST_SHARE = 0.5  # of the largest weight: 8 bits never want a smaller range
_CANDIDATES = 51


# Real weights, (channels, …), and the largest code → the scale of each channel.
Scales = Callable[[NDArray[np.float64], int], NDArray[np.float32]]


def peak_scales(rows: NDArray[np.float64], largest: int) -> NDArray[np.float32]:
    """The scales at which each row's largest magnitude has the largest code; (channels,)."""
    most = _peaks(rows, largest)
    scales: NDArray[np.float32] = (most / largest).astype(np.float32)
    return scales


def mse_scales(rows: NDArray[np.float64], largest: int) -> NDArray[np.float32]:
    """Find the scale of each row of weights with the least Σ (w − q(w))², of those that reach from
    the largest magnitude down to half of it; (channels,).

    The search over clipping thresholds is that of Banner et al., Post training 4-bit quantization
    of convolutional networks, 2019 (arXiv:1810.05723), section 2, on the weights themselves.
    """
    most = _peaks(rows, largest)
    best = np.full(len(rows), np.inf)
    chosen = most / largest
    # From the largest on, so that a smaller range must be better, and not only as good.
    for share in np.linspace(1.0, _LEAST_SHARE, _CANDIDATES):
        # As it will be stored: what is least in wider numbers may be more in these.
        scale = (share * most / largest).astype(np.float32).astype(np.float64)[:, None]
        rounded = np.clip(np.rint(rows / scale), -largest, largest) * scale
        error = np.square(rows - rounded).sum(axis=1)
        better = error < best
        best[better] = error[better]
        chosen[better] = scale[better, 0]
    scales: NDArray[np.float32] = chosen.astype(np.float32)
    return scales


def _peaks(rows: NDArray[np.float64], largest: int) -> NDArray[np.float64]:
    """Each row's largest magnitude."""
    most: NDArray[np.float64] = np.abs(rows).max(axis=1)
    # Channels of zeros are exact at every scale.
    most[most == 0] = largest
    return most


def rounded_anew(
    real: "onnx.ModelProto", quantized: "onnx.ModelProto", scales: Scales, bits: int
) -> dict[str, RoundedWeights]:
    """The weights of each product at other scales, by the node's name.

    Args:
        real: the float model.
        quantized: what `quantize` made of it.
        scales: `peak_scales` or `mse_scales`.
        bits: of a weight.
    """
    largest = most_code(bits)
    floats, codes, names = ModelWeights(real), ModelWeights(quantized), real_weights(real)
    found = {}
    for product in products(quantized):
        weights = floats[names[product.name]]
        rows = in_rows(weights, product.axis)
        scale = scales(rows, largest)
        rounded = np.clip(np.rint(rows / scale[:, None].astype(np.float64)), -largest, largest)
        found[product.name] = RoundedWeights(
            codes=from_rows(rounded, weights.shape, product.axis).astype(np.int8),
            scale=scale,
            bias=codes.bias(product),
        )
    return found

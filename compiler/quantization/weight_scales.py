"""Scales of weights by the mean squared error of rounding and clipping together."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.quantization.products import (
    MOST_CODE,
    ModelWeights,
    RoundedWeights,
    from_rows,
    in_rows,
    products,
    real_weights,
)

if TYPE_CHECKING:
    import onnx

_LEAST_SHARE = 0.5  # of the largest weight: 8 bits never want a smaller range
_CANDIDATES = 51


def mse_scales(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    """Find the scale of each row of weights with the least Σ (w − q(w))², of those that reach from
    the largest magnitude down to half of it; (channels,).

    The search over clipping thresholds is that of Banner et al., Post training 4-bit quantization
    of convolutional networks, 2019 (arXiv:1810.05723), section 2, on the weights themselves.
    """
    most = np.abs(rows).max(axis=1)
    # Channels of zeros are exact at every scale.
    most[most == 0] = MOST_CODE
    best = np.full(len(rows), np.inf)
    chosen = most / MOST_CODE
    # From the largest on, so that a smaller range must be better, and not only as good.
    for share in np.linspace(1.0, _LEAST_SHARE, _CANDIDATES):
        # As it will be stored: what is least in wider numbers may be more in these.
        scale = (share * most / MOST_CODE).astype(np.float32).astype(np.float64)[:, None]
        rounded = np.clip(np.rint(rows / scale), -MOST_CODE, MOST_CODE) * scale
        error = np.square(rows - rounded).sum(axis=1)
        better = error < best
        best[better] = error[better]
        chosen[better] = scale[better, 0]
    scales: NDArray[np.float32] = chosen.astype(np.float32)
    return scales


def rounded_by_mse(
    real: "onnx.ModelProto", quantized: "onnx.ModelProto"
) -> dict[str, RoundedWeights]:
    """The weights of each product at such scales, by the node's name.

    Args:
        real: the float model.
        quantized: what `quantize` made of it.
    """
    floats, codes, names = ModelWeights(real), ModelWeights(quantized), real_weights(real)
    found = {}
    for product in products(quantized):
        weights = floats[names[product.name]]
        rows = in_rows(weights, product.axis)
        scale = mse_scales(rows)
        rounded = np.clip(np.rint(rows / scale[:, None].astype(np.float64)), -MOST_CODE, MOST_CODE)
        found[product.name] = RoundedWeights(
            codes=from_rows(rounded, weights.shape, product.axis).astype(np.int8),
            scale=scale,
            bias=codes.bias(product),
        )
    return found

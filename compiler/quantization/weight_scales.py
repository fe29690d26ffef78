"""Scales of weights: by the mean squared error of rounding and clipping together, or so that the
largest weight has the largest code.
"""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.four_bits import bits_of
from edgekiln.compiler.quantization.products import (
    LEAST_SCALE,
    WEIGHT_BITS,
    ModelWeights,
    RoundedWeights,
    from_rows,
    in_rows,
    most_code,
    products,
    real_biases,
    real_weights,
)

if TYPE_CHECKING:
    import onnx

_LEAST_SHARE = 0.5  # of the largest weight: neither 8 nor 4 bits want a smaller range
_CANDIDATES = 51


# Codes (channels, k), and the scale of each channel.
RoundedRows = tuple[NDArray[np.generic], NDArray[np.float32]]
# The shape of weights, they in rows, and each channel's least scale; None leaves them alone.
Rounding = Callable[[tuple[int, ...], NDArray[np.float64], NDArray[np.float32]], RoundedRows | None]
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
    most[most < largest * LEAST_SCALE] = largest
    return most


def rounded_anew(
    real: "onnx.ModelProto", quantized: "onnx.ModelProto", scales: Scales, bits: int
) -> dict[str, RoundedWeights]:
    """The weights of each product at other scales, by the node's name.

    Args:
        real: the float model.
        quantized: what `quantize` made of it.
        scales: `peak_scales` or `mse_scales`.
        bits: of a weight, where it is not too few for a layer's.
    """

    def rounding(
        shape: tuple[int, ...], rows: NDArray[np.float64], least: NDArray[np.float32]
    ) -> RoundedRows:
        largest = most_code(bits_of(shape, bits, WEIGHT_BITS))
        # A bias that is large beside its weights takes resolution from them, not from itself; one
        # without weights has all of it.
        weighs = np.abs(rows).max(axis=1) >= largest * LEAST_SCALE
        scale = np.where(weighs, np.maximum(scales(rows, largest), least), least)
        codes = np.clip(np.rint(rows / scale[:, None].astype(np.float64)), -largest, largest)
        return codes, scale

    return rounded_by(real, quantized, rounding)


def rounded_by(
    real: "onnx.ModelProto", quantized: "onnx.ModelProto", rounding: Rounding
) -> dict[str, RoundedWeights]:
    """What a rounding makes of the weights of each product, by the node's name; without those that
    it leaves alone.
    """
    floats, codes, names = ModelWeights(real), ModelWeights(quantized), real_weights(real)
    found = {}
    for product in products(quantized):
        weights, bias = floats[names[product.name]], codes.bias(product)
        rows, least = in_rows(weights, product.axis), codes.least_scales(product, bias)
        made = rounding(weights.shape, rows, least)
        if made is not None:
            rounded = from_rows(made[0], weights.shape, product.axis)
            found[product.name] = RoundedWeights(
                codes=rounded.astype(np.int8), scale=made[1], bias=bias
            )
    return found


def biases_alone(
    real: "onnx.ModelProto", quantized: "onnx.ModelProto"
) -> dict[str, RoundedWeights]:
    """The products that have channels without weights, by the node's name: the biases of these
    channels, which any scale would do for, are as exact as 32 bits hold them.

    Args:
        real, quantized: as of `rounded_anew`.
    """
    floats, codes, names = ModelWeights(real), ModelWeights(quantized), real_biases(real)
    found = {}
    layers = products(quantized)
    readers = Counter(name for each in layers for name in {each.scale, each.bias_codes})
    for product in layers:
        if readers[product.scale] > 1 or readers[product.bias_codes] > 1:
            continue  # what one changes would be another's, too
        own = codes.read(product)
        alone = ~in_rows(own.codes, product.axis).any(axis=1)
        if own.bias is None or product.name not in names or not alone.any():
            continue
        given = floats.real(names[product.name])
        if given.shape == own.bias.shape:
            bias = np.where(alone, given, own.bias).astype(np.float32)
            scale = np.where(alone, codes.least_scales(product, bias), own.scale)
            found[product.name] = RoundedWeights(codes=own.codes, scale=scale, bias=bias)
    return found

"""Bias correction: the mean error of each layer's output is taken out of its bias.

Rounding shifts the mean of a layer's output, the more the fewer weights a sum has: depthwise layers
suffer most. Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction,
2019 (arXiv:1906.04721), section 4.2, with the mean measured on samples (its appendix D).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.quantization.products import ModelWeights, Product, products
from edgekiln.compiler.quantization.walk import LayerWalk, Values

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.model_inputs import Inputs


def correct_biases(
    real: "onnx.ModelProto",
    quantized: "onnx.ModelProto",
    calls: "list[Inputs]",
    advance: Callable[[int, int], None],
) -> int:
    """Correct layer after layer, each behind those that are corrected already.

    Args:
        real: the float model, whose products have biases.
        quantized: what `quantize` made of it; its biases are rewritten in place.
        calls: the inputs on which the mean is taken.
        advance: is told after each layer how many of how many are done.

    Returns:
        How many layers have a bias to be corrected.
    """
    layers = [product for product in products(quantized) if product.bias_codes]
    weights = ModelWeights(quantized)
    exact = LayerWalk(real, calls, optimize=True)
    rounded = LayerWalk(quantized, calls, optimize=False)
    for done, product in enumerate(layers, start=1):
        correct(product, weights, exact.of(product.name), rounded.of(product.name))
        advance(done, len(layers))
    return len(layers)


def correct(product: Product, weights: ModelWeights, exact: Values, rounded: Values) -> None:
    """Take the mean difference of two outputs, channel by channel, out of a product's bias."""
    bias = weights.bias(product)
    if bias is not None:
        error = _means(rounded, product.channel_axis) - _means(exact, product.channel_axis)
        weights.set_bias(product, bias - error)


def _means(values: Values, axis: int) -> NDArray[np.float64]:
    """The mean of each channel over all calls."""
    sums = [
        np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis]).sum(axis=0, dtype=np.float64)
        for array in values
    ]
    count = sum(array.size // array.shape[axis] for array in values)
    total: NDArray[np.float64] = np.sum(sums, axis=0)
    mean: NDArray[np.float64] = total / count
    return mean

"""Weights of four bits in blocks, each of which has a factor: int8 codes that are such products.

A channel's scale is as fine as its blocks need it, and a block's scale is a whole multiple of it:
the model stays an int8 model with a scale a channel, whose sums are integers. (Two levels of
scales: Dai et al., VS-Quant: Per-vector Scaled Quantization for Accurate Low-Precision Neural
Network Inference, arXiv:2102.04503.)
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.four_bits import NARROW_BITS, pay
from edgekiln.compiler.onnx_model.weight_blocks import MOST_FACTOR
from edgekiln.compiler.quantization.products import RoundedWeights, most_code
from edgekiln.compiler.quantization.weight_scales import RoundedRows, mse_scales, rounded_by

if TYPE_CHECKING:
    import onnx


def are_matrices(shape: tuple[int, ...], size: int) -> bool:
    """Whether weights of a shape are taken in blocks of so many: a matrix of more than one."""
    return pay(shape) and set(shape[2:]) <= {1} and min(shape[:2]) > 1 and max(shape) > size


def rounded_in_blocks(
    real: "onnx.ModelProto", quantized: "onnx.ModelProto", size: int
) -> dict[str, RoundedWeights]:
    """The weights of each product that is one of a matrix, by the node's name.

    Args:
        real: the float model.
        quantized: what `quantize` made of it.
        size: of a block, of the weights of an output in their order.
    """

    def rounding(
        shape: tuple[int, ...], rows: NDArray[np.float64], least: NDArray[np.float32]
    ) -> RoundedRows | None:
        return _rounded(rows, size, least) if are_matrices(shape, size) else None

    return rounded_by(real, quantized, rounding)


def _rounded(rows: NDArray[np.float64], size: int, least: NDArray[np.float32]) -> RoundedRows:
    """The codes of real weights (channels, k), and each channel's scale."""
    channels, k = rows.shape
    count = -(-k // size)
    padded = np.zeros((channels, count * size))
    padded[:, :k] = rows
    parts = padded.reshape(channels, count, size)
    largest = most_code(NARROW_BITS)
    wanted = mse_scales(parts.reshape(-1, size), largest).reshape(channels, count)
    # A block of zeros wants none.
    wanted = np.where(np.abs(parts).max(axis=2) > 0, wanted, 0)
    finest = wanted.max(axis=1) / MOST_FACTOR
    scale = np.maximum(np.where(finest > 0, finest, 1), least).astype(np.float32)
    unit = scale.astype(np.float64)[:, None]
    factors = np.clip(np.rint(wanted / unit), 1, MOST_FACTOR)[:, :, None]
    steps = np.clip(np.rint(parts / (factors * unit[:, :, None])), -largest, largest)
    whole = (steps * factors).reshape(channels, -1)[:, :k].astype(np.int64)
    return whole, scale

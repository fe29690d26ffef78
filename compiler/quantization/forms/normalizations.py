"""Normalizations and Softmax along any axis, in those along the last one and in convolutions."""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.channel_norms import scaled
from edgekiln.compiler.onnx_model.gemm import row_vector
from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.compiler.onnx_model.operator_row import MAX_SOFTMAX_ROW
from edgekiln.compiler.onnx_model.rewriting import ModelFacts

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.rewriting import Constant

    Nodes = list[onnx.NodeProto] | None

_MOST_CHANNELS = 1024  # of an LRN, whose matrix has a row and a column for each


def softmax(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """Along another axis than the last: that axis is moved to the end, and back."""
    fixed = facts.fixed(node.input[0])
    if fixed is None:
        return None
    rank = 1 + len(fixed)
    axis = operators.attributes(node).get("axis", -1) % rank
    if axis in (0, rank - 1) or fixed[axis - 1] > MAX_SOFTMAX_ROW:
        return None
    order = list(range(rank))
    # A swap, so that the same permutation leads back.
    order[axis], order[-1] = order[-1], order[axis]
    w = NodeWriter(facts=facts, node=node)
    rows = w.op("Softmax", w.op("Transpose", node.input[0], perm=order), axis=-1)
    w.op("Transpose", rows, perm=order, result=node.output[0])
    return w.nodes


def batch_norm(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """y = γ (x - μ) / √(σ² + ε) + β is one weight and one bias a channel: a depthwise convolution.

    Meant for those that no convolution before them takes in (DenseNet, pre-activation ResNets).
    Behind a Gemm that nobody else reads it goes into the weights; what is no image is seen as one.
    Left alone: statistics that are no constant.
    """
    fixed = facts.fixed(node.input[0])
    constants = [facts.constant(node, place) for place in range(1, 5)]
    parameters = [value for value in constants if value is not None]
    training = operators.attributes(node).get("training_mode")
    if not fixed or len(parameters) < 4 or training:
        return None
    slope, offset = _line(parameters, operators.attributes(node).get("epsilon", 1e-5))
    gemm = facts.makers.get(node.input[0])
    if gemm is not None and (folded := _into_gemm(facts, gemm, node, slope, offset)):
        return folded
    w = NodeWriter(facts=facts, node=node)
    scaled(w, node.input[0], fixed, slope, offset)
    return w.nodes


def _line(parameters: "list[Constant]", epsilon: float) -> "tuple[Constant, Constant]":
    """Slope and offset of each channel, (C,) float64."""
    gamma, beta, mean, variance = (array.astype(np.float64) for array in parameters)
    slope = gamma / np.sqrt(variance + epsilon)
    return slope, beta - mean * slope


def _into_gemm(
    facts: ModelFacts, gemm: "onnx.NodeProto", node: "onnx.NodeProto", slope: "Constant",
    offset: "Constant",
) -> "Nodes":  # fmt: skip
    """A product with other weights, which takes the batch norm's place; None for what is none.

    The product that was there goes, for nobody reads it any more.
    """
    given = operators.attributes(gemm)
    weight = facts.constant(gemm, 1)
    plain = given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0
    if gemm.op_type not in ("Gemm", "MatMul") or weight is None or weight.ndim != 2 or not plain:
        return None
    # The channels of more axes are not the columns.
    if len(facts.shapes.get(gemm.output[0], ())) != 2:
        return None
    # Somebody else reads the product without the norm.
    if facts.alone(gemm.output[0]) is None:
        return None
    has_bias = len(gemm.input) > 2 and bool(gemm.input[2])
    bias = row_vector(facts.constant(gemm, 2) if has_bias else np.zeros(1), len(slope))
    if bias is None:
        return None
    # (K, N), or (N, K) where it is transposed: one slope for each of N.
    columns = slope[:, None] if given.get("transB") else slope
    w = NodeWriter(facts=facts, node=node)
    operands = (
        w.constant((weight.astype(np.float64) * columns).astype(np.float32)),
        w.constant((bias.astype(np.float64) * slope + offset).astype(np.float32)),
    )
    w.op("Gemm", gemm.input[0], *operands, result=node.output[0], **given)
    return w.nodes


def local_response(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """x · (bias + alpha / size · Σ x²) to the power of -beta, the sum over the nearest channels.

    The sum is a convolution with one tap; the window of ONNX's definition has its middle, or where
    there are two the first of them, at the channel itself.
    """
    fixed = facts.fixed(node.input[0])
    if fixed is None or len(fixed) != 3 or fixed[0] > _MOST_CHANNELS:
        return None
    given = operators.attributes(node)
    size = given["size"]
    alpha, beta, bias = given.get("alpha", 1e-4), given.get("beta", 0.75), given.get("bias", 1.0)
    channels = np.arange(fixed[0])
    apart = channels[None, :] - channels[:, None]  # from a result's channel to one that it reads
    near = (apart >= -((size - 1) // 2)) & (apart <= size // 2)
    w = NodeWriter(facts=facts, node=node)
    x = node.input[0]
    weight = w.constant((near * (alpha / size)).astype(np.float32)[:, :, None, None])
    offset = w.constant(np.full(fixed[0], bias, np.float32))
    base = w.op("Conv", w.op("Mul", x, x), weight, offset, kernel_shape=[1, 1])
    factor = w.op("Pow", base, w.constant(np.array(-beta, np.float32)))
    w.op("Mul", x, factor, result=node.output[0])
    return w.nodes

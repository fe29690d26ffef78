"""Softmax and normalizations."""

from collections.abc import Callable

import numpy as np

from edgekiln.compiler.ir.codes import Finish, FloatFinish
from edgekiln.compiler.ir.linear import Conv2d
from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.ops import LayerNorm, LogSoftmax, Softmax
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.ir.window import Window
from edgekiln.compiler.onnx_model.operator_row import MAX_LAYER_NORM_ROW, MAX_SOFTMAX_ROW
from edgekiln.compiler.passes.numbers import Weights
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.linear import convolve


def softmax(rw: Rewriter, node: Node) -> str | None:
    """Along the last axis."""
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    if not _along_the_last_axis(rw, node, x):
        return "it runs along another axis than the last"
    if rw.numbers.has_codes and x.shape[-1] > MAX_SOFTMAX_ROW:
        return f"rows of more than {MAX_SOFTMAX_ROW} values have no integer kernel"
    return _emit(rw, node, x, lambda finish: Softmax(finish=finish))


def log_softmax(rw: Rewriter, node: Node) -> str | None:
    """Along the last axis, of floats."""
    x = rw.source(node.inputs[0])
    if x is None or not _along_the_last_axis(rw, node, x):
        return "it runs along another axis than the last"
    rw.make(LogSoftmax(), (x.name,), node.name)
    return None


def _along_the_last_axis(rw: Rewriter, node: Node, x: Tensor) -> bool:
    axis = onnx_op(node).integer("axis", -1 if rw.graph.opset >= 13 else 1)
    return axis % len(x.shape) == len(x.shape) - 1


def layer_norm(rw: Rewriter, node: Node) -> str | None:
    """Along the last axis, with one constant a channel."""
    x, op = rw.source(node.inputs[0]), onnx_op(node)
    if x is None:
        return "its input is not quantized"
    if op.integer("axis", -1) % len(x.shape) != len(x.shape) - 1:
        return "it runs along other axes than the last"
    if rw.numbers.has_codes and x.shape[-1] > MAX_LAYER_NORM_ROW:
        return f"rows of more than {MAX_LAYER_NORM_ROW} values have no integer kernel"
    if any(rw.users.get(name) or name in rw.graph.outputs for name in node.outputs[1:]):
        return "its mean or deviation is used"
    constants = [rw.constant(name) for name in node.inputs[1:] if name]
    known = [value.astype(np.float32) for value in constants if value is not None]
    if len(known) < len(constants) or any(value.shape != x.shape[-1:] for value in known):
        return "its scale or bias is not one constant a channel"
    gamma, beta = [*known, np.zeros(x.shape[-1], np.float32)][:2]
    epsilon = op.real("epsilon", 1e-5)  # ONNX's default
    return _emit(
        rw,
        node,
        x,
        lambda finish: LayerNorm(gamma=gamma, beta=beta, epsilon=epsilon, finish=finish),
    )


def _emit(rw: Rewriter, node: Node, x: Tensor, op: Callable[[Finish], Op]) -> str | None:
    """The kernels of floats do not clip: an activation behind them becomes a function."""
    has_codes = rw.numbers.has_codes
    epilogue = rw.epilogue(node.name) if has_codes else rw.unquantized(node.name)
    if epilogue is None:
        return "its result is not quantized"
    rw.take(epilogue)
    rw.make(op(epilogue.finish), (x.name,), epilogue.output)
    return None


def batch_norm(rw: Rewriter, node: Node) -> str | None:
    """γ (x - μ) / √(σ² + ε) + β of an image: weights of the convolution before it, else of a
    depthwise one with a single tap. Of codes it is folded before they are quantized.
    """
    if rw.numbers.has_codes:
        return "BatchNormalization has no integer form"
    constants = [rw.constant(name) for name in node.inputs[1:5]]
    x = rw.source(node.inputs[0])
    known = [value.astype(np.float64) for value in constants if value is not None]
    if x is None or len(known) < 4 or len(x.shape) != 4:
        return "its statistics are not constant, or it is not of an image"
    gamma, beta, mean, variance = known
    # In float64, for the product with the weights is rounded once more.
    slope = gamma / np.sqrt(variance + onnx_op(node).real("epsilon", 1e-5))
    offset = beta - mean * slope
    each = slope.reshape(-1, 1, 1, 1)
    made = rw.made.get(x.name)
    if made is None or not _absorbs(rw, made, x):
        weights = Weights(values=np.ascontiguousarray(each, np.float32))
        window = Window(kernel=(1, 1))
        convolve(rw, node, x, weights, offset.astype(np.float32), window, len(slope))
        return None
    conv = made.op
    assert isinstance(conv, Conv2d)
    rw.nodes = [other for other in rw.nodes if other is not made]
    weights = Weights(
        values=np.ascontiguousarray(np.asarray(conv.weight, np.float32) * each, np.float32)
    )
    bias = (np.asarray(conv.bias, np.float32) * slope + offset).astype(np.float32)
    image = rw.graph.tensors[made.inputs[0]]
    convolve(rw, node, image, weights, bias, conv.window, conv.groups)
    return None


def _absorbs(rw: Rewriter, made: Node, x: Tensor) -> bool:
    """Whether a convolution makes x for the normalization alone, and does not clip it."""
    conv = made.op
    return (
        isinstance(conv, Conv2d)
        and rw.only_user(x.name) is not None
        and conv.finish == FloatFinish()
    )

"""Pools. An average needs a QuantizeLinear after it; a maximum keeps its input's quantization."""

import math
from collections.abc import Callable
from dataclasses import replace

from edgekiln.compiler.ir.codes import Finish
from edgekiln.compiler.ir.moves import Reshape
from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.ops import AveragePool, GlobalAveragePool, MaxPool
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.ir.window import Window
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.window import four, pads, pair, strides_and_dilations
from edgekiln.compiler.passes.words import may_add

_LARGE_SUMS = "32 bits may not hold the sums of its windows"


def max_pool(rw: Rewriter, node: Node) -> str | None:
    """A maximum keeps its codes; its indices have no kernel."""
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    window = _window(rw, node, x)
    if isinstance(window, str):
        return window
    if len(node.outputs) > 1 and node.outputs[1]:
        return "the indices of the maxima have no integer kernel"
    rw.move(node, MaxPool(window=window))
    return None


def global_max_pool(rw: Rewriter, node: Node) -> str | None:
    """One window, as large as the image."""
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    if len(x.shape) != 4:
        return f"pooling over {len(x.shape) - 2} axes has no integer kernel"
    rw.move(node, MaxPool(window=Window(kernel=pair(x.shape[2:]))))
    return None


def average_pool(rw: Rewriter, node: Node) -> str | None:
    """Windows that are averaged; one that covers the whole image is a mean."""
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    window = _window(rw, node, x)
    if isinstance(window, str):
        return window
    if window.dilations != (1, 1):
        return "a dilated average pool has no integer kernel"
    out = rw.graph.tensors[node.name].shape
    # One window over the whole image is what GlobalAveragePool has.
    if window.kernel == x.shape[2:] and out[2:] == (1, 1) and not any(window.pads):
        return _mean(rw, node, x)
    if not may_add(x, math.prod(window.kernel)):
        return _LARGE_SUMS
    counts_pads = bool(onnx_op(node).integer("count_include_pad", 0))

    def pool(finish: Finish) -> Op:
        return AveragePool(window=window, count_include_pad=counts_pads, finish=finish)

    return _emit(rw, node, x, pool, x.shape[:2] + out[2:])


def _window(rw: Rewriter, node: Node, x: Tensor) -> Window | str:
    """What slides over the image, or why there is no kernel for it."""
    op = onnx_op(node)
    kernel = op.integers("kernel_shape") or ()
    if len(kernel) != 2:
        return f"pooling over {len(kernel)} axes has no integer kernel"
    strides, dilations = strides_and_dilations(op, 2)
    padding = pads(op, x.shape[2:], rw.graph.tensors[node.name].shape[2:], kernel)
    return Window(
        kernel=pair(kernel), strides=pair(strides), dilations=pair(dilations), pads=four(padding)
    )


def global_average_pool(rw: Rewriter, node: Node) -> str | None:
    """The mean of each channel of an image."""
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    if len(x.shape) != 4:
        return f"pooling over {len(x.shape) - 2} axes has no integer kernel"
    return _mean(rw, node, x)


def reduce_mean(rw: Rewriter, node: Node) -> str | None:
    """ReduceMean over exactly the image axes, or over the tokens of (N, T, C)."""
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    axes = onnx_op(node).integers("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1]:
        constant = rw.graph.constants.get(node.inputs[1])
        axes = None if constant is None else tuple(constant.tolist())
    rank = len(x.shape)
    if axes is None or sorted(a % rank for a in axes) != {3: [1], 4: [2, 3]}.get(rank):
        return "a mean over other than the image axes or the tokens has no integer kernel"
    return _mean(rw, node, x)


def _mean(rw: Rewriter, node: Node, x: Tensor) -> str | None:
    full = (*x.shape[:2], 1, 1)
    if len(x.shape) == 3:  # (N, T, C) lies like an image of one row: its mean is a matrix of rows
        full = (x.shape[0], 1, x.shape[2])
    if not may_add(x, x.elements // math.prod(full)):
        return _LARGE_SUMS
    return _emit(rw, node, x, lambda finish: GlobalAveragePool(finish=finish), full)


def _emit(
    rw: Rewriter, node: Node, x: Tensor, pool: Callable[[Finish], Op], full: tuple[int, ...]
) -> str | None:
    """Args: full: the shape of the result with the axes that `keepdims=0` leaves out."""
    epilogue = rw.epilogue(node.name)
    if epilogue is None:
        return "its result is not quantized"
    rw.take(epilogue)
    op = pool(epilogue.finish)
    result = rw.graph.tensors[epilogue.output]
    if math.prod(full) != result.elements or len(result.shape) == 4:
        rw.make(op, (x.name,), result.name)
        return None
    # keepdims=0: the pool's own result has the two axes that ONNX's lacks.
    image = rw.graph.put(replace(result, name=f"{result.name}:image", shape=full))
    rw.make(op, (x.name,), image.name)
    rw.make(Reshape(), (image.name,), result.name)
    return None

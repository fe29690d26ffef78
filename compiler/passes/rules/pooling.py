"""Pools. An average needs a QuantizeLinear after it; a maximum keeps its input's quantization."""

import math
from dataclasses import replace

from edgekiln.compiler.ir.graph import Node
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.window import pads, strides_and_dilations


def max_pool(rw: Rewriter, node: Node) -> str | None:
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    kernel = tuple(node.attrs["kernel_shape"])
    if len(kernel) != 2:
        return f"pooling over {len(kernel)} axes has no integer kernel"
    if len(node.outputs) > 1 and node.outputs[1]:
        return "the indices of the maxima have no integer kernel"
    strides, dilations = strides_and_dilations(node, 2)
    padding = pads(node, x.shape[2:], rw.graph.tensors[node.name].shape[2:], kernel)
    rw.pass_through(
        node, "max_pool", kernel=kernel, strides=strides, dilations=dilations, pads=padding
    )
    return None


def global_max_pool(rw: Rewriter, node: Node) -> str | None:
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    if len(x.shape) != 4:
        return f"pooling over {len(x.shape) - 2} axes has no integer kernel"
    rw.pass_through(
        node, "max_pool", kernel=x.shape[2:], strides=(1, 1), dilations=(1, 1), pads=(0, 0, 0, 0)
    )
    return None


def average_pool(rw: Rewriter, node: Node) -> str | None:
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    kernel = tuple(node.attrs["kernel_shape"])
    if len(kernel) != 2:
        return f"pooling over {len(kernel)} axes has no integer kernel"
    strides, dilations = strides_and_dilations(node, 2)
    if dilations != (1, 1):
        return "a dilated average pool has no integer kernel"
    out = rw.graph.tensors[node.name].shape
    padding = pads(node, x.shape[2:], out[2:], kernel)
    if kernel == x.shape[2:] and out[2:] == (1, 1) and not any(padding):
        return _emit(rw, node, "global_avg_pool", {})
    return _emit(
        rw,
        node,
        "avg_pool",
        {
            "kernel": kernel,
            "strides": strides,
            "pads": padding,
            "count_include_pad": bool(node.attrs.get("count_include_pad", 0)),
        },
    )


def global_average_pool(rw: Rewriter, node: Node) -> str | None:
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    if len(x.shape) != 4:
        return f"pooling over {len(x.shape) - 2} axes has no integer kernel"
    return _emit(rw, node, "global_avg_pool", {})


def reduce_mean(rw: Rewriter, node: Node) -> str | None:
    """ReduceMean over exactly the image axes, or over the tokens of (N, T, C)."""
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    axes = node.attrs.get("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1]:
        constant = rw.graph.constants.get(node.inputs[1])
        axes = None if constant is None else constant.tolist()
    rank = len(x.shape)
    if axes is None or sorted(a % rank for a in axes) != {3: [1], 4: [2, 3]}.get(rank):
        return "a mean over other than the image axes or the tokens has no integer kernel"
    return _emit(rw, node, "global_avg_pool", {})


def _emit(rw: Rewriter, node: Node, op: str, attrs: dict[str, object]) -> str | None:
    epilogue = rw.epilogue(node.name)
    if epilogue is None:
        return "its result is not quantized"
    x = rw.source(node.inputs[0])
    assert x is not None
    rw.take(epilogue)
    bounds = {"lo": epilogue.lo, "hi": epilogue.hi}
    shape = rw.graph.tensors[epilogue.output].shape
    full = x.shape[:2] + shape[2:] if op == "avg_pool" else (*x.shape[:2], 1, 1)
    if len(x.shape) == 3:  # (N, T, C) lies like an image of one row: its mean is a matrix of rows
        full = (x.shape[0], 1, x.shape[2])
    if math.prod(full) != math.prod(shape) or len(shape) == 4:
        rw.emit(
            Node(op=op, inputs=(x.name,), outputs=(epilogue.output,), attrs={**attrs, **bounds})
        )
        return None
    # keepdims=0: the pool's own result has the two axes that ONNX's lacks.
    image = f"{epilogue.output}:image"
    result = rw.graph.tensors[epilogue.output]
    rw.graph.tensors[image] = replace(result, name=image, shape=full)
    rw.emit(Node(op=op, inputs=(x.name,), outputs=(image,), attrs={**attrs, **bounds}))
    rw.emit(Node(op="reshape", inputs=(image,), outputs=(epilogue.output,)))
    return None

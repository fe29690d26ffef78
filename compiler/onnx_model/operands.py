"""Operands that fit each other, and known words, where ONNX's shape inference does not look.

It takes a convolution's channels, the length of a bias or of a row of scales as they come.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import attribute_values, operators
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]  # 0: an open extent
# The fault of a node with operands of these shapes, None for one that is absent or unknown.
Check = Callable[["onnx.NodeProto", list[Shape | None]], str | None]


def check(graph: "onnx.GraphProto", where: str) -> None:
    """Raise InputError, with `where` in front, at the first node whose operands do not fit.

    Args:
        graph: with the shapes that were inferred.
    """
    shapes: dict[str, Shape] = {w.name: tuple(w.dims) for w in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            shapes[value.name] = tuple(max(0, d.dim_value) for d in kind.shape.dim)
    for node in graph.node:
        fault = _CHECKS[node.op_type] if node.op_type in _CHECKS and not node.domain else None
        known = [shapes.get(name) if name else None for name in node.input]
        reason = attribute_values.unknown(node) if not node.domain else None
        reason = reason or (fault(node, known) if fault else _elements(node, shapes))
        if reason is not None:
            result = next((name for name in node.output if name), node.name)
            raise InputError(
                f"{where}: operator {node.op_type} ({result!r}) {reason}", hint="export it again"
            )


def _elements(node: "onnx.NodeProto", shapes: dict[str, Shape]) -> str | None:
    """Reshape and its like: as many elements behind as before, where both are known."""
    if node.op_type not in ("Reshape", "Squeeze", "Unsqueeze", "Flatten"):
        return None
    # An unknown shape is taken for an open one.
    before, after = (shapes.get(name, (0,)) for name in (node.input[0], node.output[0]))
    if 0 in (*before, *after) or math.prod(before) == math.prod(after):
        return None
    return f"makes {after} of {before}"


def _convolution(node: "onnx.NodeProto", known: list[Shape | None]) -> str | None:
    data, weight = known[:2]
    if weight is None or data is None:
        return None
    if len(weight) < 3 or len(weight) != len(data):
        return f"has weights of {len(weight)} axes for {len(data)}"
    given = operators.attributes(node)
    kernel = list(given.get("kernel_shape", weight[2:]))
    if given.get("auto_pad", "NOTSET") != "NOTSET" and "pads" in given:
        return f"has pads and an auto_pad, {given['auto_pad']}"
    automatic = given.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if automatic and node.op_type == "Conv" and any(d != 1 for d in given.get("dilations", ())):
        # By the specification it has a meaning; but ONNX Runtime, which every program is held
        # against, takes no such convolution.
        return f"has dilations and an auto_pad, {given['auto_pad']}, in place of pads"
    if all(weight[2:]) and kernel != list(weight[2:]):
        return f"has a kernel_shape of {kernel} and weights of {list(weight[2:])}"
    return (
        _groups(node, data, weight, given.get("group", 1))
        or _length(known, 2, _outputs(node, weight, given.get("group", 1)), "bias")
        or (_gaps(node, data, kernel) if node.op_type == "Conv" else None)
    )


def _pool(node: "onnx.NodeProto", known: list[Shape | None]) -> str | None:
    kernel = operators.attributes(node).get("kernel_shape")
    return _gaps(node, known[0], kernel) if known[0] and kernel else None


def _no_axes(node: "onnx.NodeProto", known: list[Shape | None]) -> str | None:
    """A reduction over no axes still takes magnitudes, squares or logarithms by ONNX; ONNX Runtime,
    which every program is held against, gives the values as they are.
    """
    axes = any(node.input[1:]) and known[1] != (0,)
    if axes or not operators.attributes(node).get("noop_with_empty_axes"):
        return None
    return "has noop_with_empty_axes and no axes, where ONNX and ONNX Runtime differ"


def _image(node: "onnx.NodeProto", known: list[Shape | None]) -> str | None:
    """Pools over all of an image: it has pixels besides batch and channels."""
    del node
    data = known[0]
    return None if data is None or len(data) > 2 else f"takes 3 axes or more, not {len(data)}"


def _gaps(node: "onnx.NodeProto", data: Shape, kernel: Sequence[int]) -> str | None:
    """Windows that shall cover an image (`auto_pad`), and leave so much of it out that it matters
    where they begin: ONNX does not say, and ONNX Runtime has a place of its own for each operator.
    """
    given = operators.attributes(node)
    automatic, ones = given.get("auto_pad", "NOTSET"), [1] * len(kernel)
    if not automatic.startswith("SAME") or len(data) != 2 + len(kernel):
        return None
    strides, dilations = given.get("strides", ones), given.get("dilations", ones)
    for extent, taps, stride, dilation in zip(data[2:], kernel, strides, dilations, strict=True):
        if not extent or stride < 1:
            continue  # open, or refused elsewhere
        reach = (taps - 1) * dilation + 1
        left_out = extent - (math.ceil(extent / stride) - 1) * stride - reach
        # One left over is at the end; a MaxPool of ONNX Runtime's takes not even that.
        if left_out > (0 if node.op_type == "MaxPool" else 1):
            return (
                f"has auto_pad = {automatic}, by which windows of {reach} with strides of {stride} "
                f"leave out some of {extent}: ONNX does not say which; give it pads"
            )
    return None


def _outputs(node: "onnx.NodeProto", weight: Shape, groups: int) -> int:
    return weight[1] * groups if node.op_type == "ConvTranspose" else weight[0]


def _groups(node: "onnx.NodeProto", data: Shape, weight: Shape, groups: int) -> str | None:
    if groups < 1:
        return f"has {groups} groups"
    into = weight[0] if node.op_type == "ConvTranspose" else weight[1] * groups
    outputs = _outputs(node, weight, groups)
    if data[1] and into and data[1] != into:
        return f"has weights for {into} channels and reads {data[1]}"
    if into % groups or outputs % groups:
        return f"has {into} channels in and {outputs} out in {groups} groups"
    return None


def _length(known: list[Shape | None], place: int, length: int, what: str) -> str | None:
    shape = known[place] if place < len(known) else None
    if shape is None or not length or shape == (length,) or 0 in shape:
        return None
    return f"has a {what} of shape {shape} for {length}"


def _channels(node: "onnx.NodeProto", known: list[Shape | None]) -> str | None:
    """Normalizations: each parameter is one a channel."""
    del node
    data = known[0]
    if data is None or len(data) < 2:
        return None
    faults = (_length(known, place, data[1], "parameter") for place in range(1, len(known)))
    return next((fault for fault in faults if fault), None)


def _gemm(node: "onnx.NodeProto", known: list[Shape | None]) -> str | None:
    weight, bias = known[1], known[2] if len(known) > 2 else None
    if weight is None or bias is None or len(weight) != 2:
        return None
    outputs = weight[0 if operators.attributes(node).get("transB") else 1]
    if len(bias) > 2 or (bias and outputs and bias[-1] not in (0, 1, outputs)):
        return f"has a bias of shape {bias} for {outputs}"
    return None


def _scales(node: "onnx.NodeProto", known: list[Shape | None]) -> str | None:
    """Quantize- and DequantizeLinear: one scale, or one an index of the axis."""
    data, scale = known[:2]
    zero = known[2] if len(known) > 2 else None
    if data is None or scale is None:
        return None
    # A quantizer writes the bias of one channel with a scale of (1,) and a zero point of ().
    one_each = {zero, scale} <= {(), (1,)}
    if zero is not None and zero != scale and not one_each and 0 not in (*zero, *scale):
        return f"has a scale of shape {scale} and a zero point of shape {zero}"
    if len(scale) != 1 or operators.attributes(node).get("block_size"):
        return None
    axis = operators.attributes(node).get("axis", 1)
    if scale == (1,):
        return None  # one scale for all: the axis says nothing
    if not -len(data) <= axis < len(data):
        return f"has scales along axis {axis} of {len(data)}"
    return _length(known, 1, data[axis], "scale")


def _row(node: "onnx.NodeProto", known: list[Shape | None]) -> str | None:
    """Normalizations over the axes from one on."""
    data, axis = known[0], operators.attributes(node).get("axis", -1)
    if data is None or -len(data) <= axis < len(data):
        return None
    return f"has axis {axis} of {len(data)}"


def _bounds(node: "onnx.NodeProto", known: list[Shape | None]) -> str | None:
    """Check those of Clip. As attributes, until operator set 10, crossed ones mean nothing."""
    given = operators.attributes(node)
    low, high = given.get("min", -math.inf), given.get("max", math.inf)
    if low > high:
        return f"has a min of {low:g} and a max of {high:g}"
    return _numbers(1, 2)(node, known)


def _numbers(*places: int) -> Check:
    """Operands that are one number each: such as the bounds of Clip."""

    def check(node: "onnx.NodeProto", known: list[Shape | None]) -> str | None:
        for place in places:
            shape = known[place] if place < len(known) else None
            if shape is not None and shape not in ((), (1,)) and 0 not in shape:
                return f"takes one number for {node.input[place]!r}, whose shape is {shape}"
        return None

    return check


_CHECKS: dict[str, Check] = {
    "AveragePool": _pool,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "GlobalAveragePool": _image,
    "GlobalLpPool": _image,
    "GlobalMaxPool": _image,
    "LpPool": _pool,
    "MaxPool": _pool,
    "Gemm": _gemm,
    "BatchNormalization": _channels,
    "InstanceNormalization": _channels,
    "QuantizeLinear": _scales,
    "DequantizeLinear": _scales,
    "LayerNormalization": _row,
    "RMSNormalization": _row,
    "Clip": _bounds,
    "CumSum": _numbers(1),
    "OneHot": _numbers(1),
    "Pad": _numbers(2),
    "Range": _numbers(0, 1, 2),
    "ReduceL1": _no_axes,
    "ReduceL2": _no_axes,
    "ReduceLogSum": _no_axes,
    "ReduceSumSquare": _no_axes,
}

"""Windows of pools and transposed convolutions whose number ONNX's shape inference has wrong.

Where a pool's last window, which `ceil_mode` adds, would begin behind the image, in its padding,
there is none: so say ONNX since operator set 22, ONNX Runtime and PyTorch in all of them. Shape
inference counts it in those before. Of a transposed convolution whose padding is automatic it adds
the padding of the output, which is there already.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import operators

if TYPE_CHECKING:
    import onnx

    Shapes = dict[str, list[int]]  # by tensor; 0: an open extent

_PADS_ARE_AN_OPERAND = 11  # of a Pad since this operator set


@dataclass(frozen=True)
class _Axis:
    """One axis of an image, and the windows on it."""

    extent: int
    begin: int  # padding
    end: int
    reach: int  # elements from the first to behind the last of a window
    stride: int

    @property
    def counted(self) -> int:
        """The windows that `ceil_mode` asks for."""
        free = self.extent + self.begin + self.end - self.reach
        return math.ceil(free / self.stride) + 1

    @property
    def windows(self) -> int:
        """The windows that there are."""
        begins = (self.counted - 1) * self.stride
        return self.counted - (begins >= self.extent + self.begin)

    @property
    def beyond(self) -> int:
        """How much more padding the last window reaches into."""
        last = (self.windows - 1) * self.stride + self.reach
        return max(0, last - self.extent - self.begin - self.end)


def settle_first(model: "onnx.ModelProto", inferred: "onnx.GraphProto") -> bool:
    """Write the first node whose windows shape inference may have wrong in attributes that it has
    right: a pool without `ceil_mode`, a transposed convolution with its padding.

    Args:
        model: changed in place.
        inferred: its graph with shapes.

    Returns:
        Whether there was one. The shapes of what follows it are not right any more, then.
    """
    shapes = {
        value.name: [max(0, d.dim_value) for d in value.type.tensor_type.shape.dim]
        for value in (*inferred.input, *inferred.value_info)
    }
    shapes |= {weight.name: list(weight.dims) for weight in model.graph.initializer}
    for place, node in enumerate(model.graph.node):
        if node.domain in ("", "ai.onnx") and node.op_type in _RULES:
            instead = _RULES[node.op_type](model, node, shapes)
            if instead is not None:
                del model.graph.node[place]
                for number, each in enumerate(instead):
                    model.graph.node.insert(place + number, each)
                return True
    return False


def _pool(
    model: "onnx.ModelProto", node: "onnx.NodeProto", shapes: "Shapes"
) -> "list[onnx.NodeProto] | None":
    """Leave out a `ceil_mode` that counts a window too many, with the padding that gives the
    windows that there are; and an LpPool's in any case, whose kernel knows no other padding.
    """
    axes = _axes(node, shapes.get(node.input[0], []))
    wrong = node.op_type == "LpPool" or any(axis.counted > axis.windows for axis in axes)
    return _without_ceil_mode(model, node, axes) if axes and wrong else None


def _transposed(
    _: "onnx.ModelProto", node: "onnx.NodeProto", shapes: "Shapes"
) -> "list[onnx.NodeProto] | None":
    """A transposed convolution that says its result's extents, or that they are the image's times
    the strides, with the padding they ask for.

    The formula is that of ONNX's specification. Where it asks for a value more at the end, that is
    padding of the output; extents further out are left alone.
    """
    import onnx

    given = operators.attributes(node)
    x, weight = shapes.get(node.input[0], []), shapes.get(node.input[1], [])
    same = given.get("auto_pad", "NOTSET").startswith("SAME")
    known = len(x) == len(weight) > 2 and all(x[2:]) and all(weight[2:])
    if not ("output_shape" in given or same) or not known:
        return None
    ones = [1] * (len(x) - 2)
    whole = [n * by for n, by in zip(x[2:], given.get("strides", ones), strict=True)]
    # The spatial extents alone, also where a file lists batch and channels in front of them.
    wanted = given.pop("output_shape", whole)[-len(ones) :]
    more = list(given.get("output_padding", [0] * len(ones)))
    before, after = [], []
    for i, extent in enumerate(wanted):
        taps = (weight[2 + i] - 1) * given.get("dilations", ones)[i] + 1
        total = given.get("strides", ones)[i] * (x[2 + i] - 1) + more[i] + taps - extent
        upper = given.get("auto_pad") == "SAME_UPPER"
        if total == -1 and not upper:
            total, more[i] = 0, more[i] + 1
        if total < 0:
            return None
        half = total // 2
        before.append(half if upper else total - half)
        after.append(total - half if upper else half)
    given.pop("auto_pad", None)
    given |= {"pads": [*before, *after], "output_padding": more}
    return [onnx.helper.make_node("ConvTranspose", node.input, node.output, node.name, **given)]


def _axes(node: "onnx.NodeProto", shape: list[int]) -> list[_Axis]:
    """None of them where `ceil_mode` asks for nothing, or an extent is not known."""
    given = operators.attributes(node)
    kernel = given.get("kernel_shape", ())
    extents = shape[2:]
    automatic = given.get("auto_pad", "NOTSET")
    rank = len(kernel)
    known = len(extents) == rank and all(extents)
    sizes = [*kernel, *given.get("strides", ()), *given.get("dilations", ())]
    if not given.get("ceil_mode") or automatic.startswith("SAME") or not known or min(sizes) < 1:
        return []  # sizes of 0 are refused where shapes are inferred
    pads = given.get("pads", [0] * 2 * rank) if automatic == "NOTSET" else [0] * 2 * rank
    strides = given.get("strides", [1] * rank)
    dilations = given.get("dilations", [1] * rank)
    return [
        _Axis(extents[i], pads[i], pads[rank + i], (kernel[i] - 1) * dilations[i] + 1, strides[i])
        for i in range(rank)
    ]


def _without_ceil_mode(
    model: "onnx.ModelProto", node: "onnx.NodeProto", axes: list[_Axis]
) -> "list[onnx.NodeProto]":
    import onnx

    given = operators.attributes(node)
    source, before = node.input[0], []
    begins, ends = [axis.begin for axis in axes], [axis.end for axis in axes]
    beyond = [axis.beyond for axis in axes]
    if given.get("count_include_pad") and any(beyond):
        # Padding adds to the divisor, and what lies beyond of it does not: so it becomes data.
        source = _free(model.graph, f"{node.output[0]}:padded")
        before = [_pad(model, node.input[0], source, [0, 0, *begins, 0, 0, *ends])]
        begins, ends = [0] * len(axes), [0] * len(axes)
        given["count_include_pad"] = 0
    given.pop("auto_pad", None)
    given["ceil_mode"] = 0
    given["pads"] = [*begins, *(end + more for end, more in zip(ends, beyond, strict=True))]
    pool = onnx.helper.make_node(node.op_type, [source], list(node.output), name=node.name, **given)
    return [*before, pool]


def _pad(model: "onnx.ModelProto", x: str, y: str, pads: list[int]) -> "onnx.NodeProto":
    """A padding with zeros."""
    import numpy as np
    import onnx

    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < _PADS_ARE_AN_OPERAND:
        return onnx.helper.make_node("Pad", [x], [y], name=y, pads=pads)
    amounts = _free(model.graph, f"{y}:amounts")
    array = onnx.numpy_helper.from_array(np.asarray(pads, np.int64), amounts)
    model.graph.initializer.append(array)
    return onnx.helper.make_node("Pad", [x, amounts], [y], name=y)


def _free(graph: "onnx.GraphProto", name: str) -> str:
    """A name like this one that nothing has."""
    taken = {each for node in graph.node for each in (*node.input, *node.output, node.name)}
    taken |= {value.name for value in (*graph.input, *graph.initializer)}
    while name in taken:
        name += "'"
    return name


_RULES = {"AveragePool": _pool, "ConvTranspose": _transposed, "LpPool": _pool, "MaxPool": _pool}

"""OneHot and TopK as comparisons and sums."""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts

    Nodes = list[onnx.NodeProto] | None

OPERAND_SINCE = 10  # operator set; before, how many there are is an attribute of TopK
MOST_CANDIDATES = 4096  # of a TopK: each is compared with each
_AXES_ARE_AN_OPERAND = 13  # of ReduceSum since this operator set
_GATHER_ELEMENTS = 11  # exists since this operator set


def one_hot(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """Where(indices = 0, 1, … depth - 1, on, off); a negative index counts from the end."""
    depth, shape = facts.constant(node, 1), facts.static(node.input[0])
    if depth is None or shape is None or node.input[2] not in facts.dtypes:
        return None
    count, axis = int(depth.reshape(-1)[0]), operators.attributes(node).get("axis", -1)
    axis %= len(shape) + 1
    w = NodeWriter(facts=facts, node=node)
    indices = w.cast(node.input[0], "int64")
    low = w.op("Less", indices, w.constant(np.array(0)))
    indices = w.op("Where", low, w.op("Add", indices, w.constant(np.array(count))), indices)
    column = (*shape[:axis], 1, *shape[axis:])
    indices = w.op("Reshape", indices, w.constant(np.array(column)))
    classes = np.arange(count).reshape(-1, *[1] * (len(shape) - axis))
    chosen = w.op("Equal", indices, w.constant(classes))
    off, on = (w.op("Gather", node.input[2], w.constant(np.array(i)), axis=0) for i in (0, 1))
    w.op("Where", chosen, on, off, result=node.output[0])
    return w.nodes


def top_k(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """The rank of a value is the number of those that come before it; of equals, the first.

    Result j is the value of rank j.
    """
    given, shape = operators.attributes(node), facts.static(node.input[0])
    wanted = facts.constant(node, 1)
    if (
        facts.dtypes.get(node.input[0]) == "float32"
        and facts.opset >= OPERAND_SINCE
        and wanted is not None
    ):
        return None  # they have a kernel
    if not shape or wanted is None or facts.opset < _GATHER_ELEMENTS:
        return None
    axis, count = given.get("axis", -1) % len(shape), int(wanted.reshape(-1)[0])
    extent, outer, inner = shape[axis], shape[:axis], shape[axis + 1 :]
    if extent > MOST_CANDIDATES or not 0 < count <= extent:
        return None
    w = NodeWriter(facts=facts, node=node)
    beyond = [1] * len(inner)

    def total(name: str) -> str:
        if facts.opset < _AXES_ARE_AN_OPERAND:
            return w.op("ReduceSum", name, axes=[axis + 1], keepdims=0)
        return w.op("ReduceSum", name, w.numbers(axis + 1), keepdims=0)

    # Along `axis` each value stands as itself, along `axis` + 1 as one that it is compared with.
    one = w.op("Reshape", node.input[0], w.numbers(*outer, extent, 1, *inner))
    other = w.op("Reshape", node.input[0], w.numbers(*outer, 1, extent, *inner))
    before = w.op("Greater" if given.get("largest", 1) else "Less", other, one)
    earlier = np.tri(extent, k=-1, dtype=bool).reshape(extent, extent, *beyond)
    tied = w.op("And", w.op("Equal", other, one), w.constant(earlier))
    rank = total(w.cast(w.op("Or", before, tied), "int64"))
    rank = w.op("Reshape", rank, w.numbers(*outer, 1, extent, *inner))
    # (outer, count, extent, inner): whether result j is the value at place i. One i is, for each j.
    chosen = w.op("Equal", rank, w.constant(np.arange(count).reshape(count, 1, *beyond)))
    places = w.constant(np.arange(extent).reshape(1, extent, *beyond))
    indices = total(w.op("Where", chosen, places, w.constant(np.array(0))))
    if node.output[0]:
        w.op("GatherElements", node.input[0], indices, result=node.output[0], axis=axis)
    if len(node.output) > 1 and node.output[1]:
        w.op("Identity", indices, result=node.output[1])
    return w.nodes

"""The largest and smallest values: TopK, ArgMax, ArgMin."""

from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.selection_ops import PLACES, TakeAlong, TopPlaces
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.passes.rewriter import Rewriter


def top_k(rw: Rewriter, node: Node) -> str | None:
    """Places first, then the values at them: codes of what is read."""
    x, op = rw.source(node.inputs[0]), onnx_op(node)
    if x is None:
        return "its input is not quantized"
    wanted = rw.graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if wanted is None or wanted.size != 1:
        return "how many it takes is not constant"
    axis, count = op.integer("axis", -1) % len(x.shape), int(wanted.reshape(-1)[0])
    places = node.outputs[1] if len(node.outputs) > 1 and node.outputs[1] else f"{node.name}:places"
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    rw.graph.put(Tensor(name=places, shape=shape, dtype=PLACES))
    rule = TopPlaces(axis=axis, count=count, largest=bool(op.integer("largest", 1)))
    rw.make(rule, (x.name,), places)
    if node.outputs[0]:
        rw.move(node, TakeAlong(axis=axis), (x.name, places))
    return None


def arg_max(rw: Rewriter, node: Node) -> str | None:
    """The place of the largest value, or of the smallest."""
    x, op = rw.source(node.inputs[0]), onnx_op(node)
    if x is None:
        return "its input is not quantized"
    if op.integer("select_last_index", 0):
        return "it takes the last one of equal values"
    axis = op.integer("axis", 0) % len(x.shape)
    rule = TopPlaces(axis=axis, count=1, largest=node.op.kind == "ArgMax")
    rw.make(rule, (x.name,), node.name)
    return None

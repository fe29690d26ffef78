"""The boxes of a detector: nodes of `detection_functions.DOMAIN`, and their fixed shapes."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.detection_ops import CountRows, Detect, FillRows, Suppress
from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.onnx_model.detection_functions import filling
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.own_nodes import demand

_LAST = 5  # where a detection has its class
_demand = partial(
    demand, hint="such nodes are made by EdgeKiln: build from the model as it was before"
)


def suppression(rw: Rewriter, node: Node) -> None:
    """The boxes that do not overlap a better one."""
    given = onnx_op(node)
    most, overlap = (_number(rw, node, place) for place in (2, 3))
    least = _number(rw, node, 4) if node.inputs[4] else None
    rule = Suppress(
        most=int(most), overlap=overlap, least=least,
        centered=bool(given.integer("center_point_box", 0)),
    )  # fmt: skip
    filler = rw.graph.constants.get(node.inputs[5])
    _demand(node, filler is not None and bool((filler == -1).all()), "its rows are not empty first")
    _emit(rw, node, rule, 2)


def detections(rw: Rewriter, node: Node) -> None:
    """The records of what was found."""
    given = onnx_op(node)
    counts = [given.integers(name) or (0,) for name in ("most", "per_class")]
    place = [_constant(rw, node, each).reshape(-1) for each in (4, 5, 6, 7)]
    rule = Detect(
        most=counts[0][0], per_class=counts[1][0],
        together=given.op_type == "DetectionsTogether", overlap=_number(rw, node, 2),
        least=_number(rw, node, 3),
        place=np.stack([np.broadcast_to(each, 4) for each in place]).astype(np.float32),
    )  # fmt: skip
    _emit(rw, node, rule, 2)


def count_rows(rw: Rewriter, node: Node) -> None:
    """How many rows are there."""
    _emit(rw, node, CountRows(place=0 if onnx_op(node).op_type == "CountedRows" else _LAST), 1)


def fill_rows(rw: Rewriter, node: Node) -> None:
    """Rows that are not there."""
    x = rw.graph.tensors[node.inputs[0]]
    filler = _number(rw, node, 3)
    _demand(node, filler == filling(x.dtype), "it fills by another number")
    _emit(rw, node, FillRows(axis=onnx_op(node).integer("axis", 0)), 2)


def _constant(rw: Rewriter, node: Node, place: int) -> NDArray[np.generic]:
    found = rw.graph.constants.get(node.inputs[place])
    _demand(node, found is not None and found.size > 0, f"its operand {place} is not fixed")
    assert found is not None
    return found


def _number(rw: Rewriter, node: Node, place: int) -> float:
    return float(_constant(rw, node, place).reshape(-1)[0])


def _emit(rw: Rewriter, node: Node, op: Op, operands: int) -> None:
    """The operation with its first operands; the others are numbers that it has."""
    xs = [rw.graph.tensors.get(name) or rw.operand(name, 3) for name in node.inputs[:operands]]
    known = [x for x in xs if x is not None]
    fault = op.fault(known, (rw.graph.tensors[node.name],)) if len(known) == len(xs) else ""
    _demand(node, len(known) == len(xs), "it reads a constant that is not of floats")
    _demand(node, not fault, fault)
    rw.make(op, tuple(x.name for x in known), node.name)


# By the names of the operator table.
DETECTION_RULES: Mapping[str, Callable[[Rewriter, Node], None]] = {
    "suppression": suppression, "detections": detections, "count_rows": count_rows,
    "fill_rows": fill_rows,
}  # fmt: skip

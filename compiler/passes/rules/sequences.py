"""Sequences: nodes of `ends.functions.DOMAIN` behind a network."""

from collections.abc import Callable, Mapping
from functools import partial

from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.sequence_ops import CountSymbols, CtcCollapse, Hysteresis
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.own_nodes import demand

_demand = partial(demand, hint="such nodes are made by `edgekiln attach`: attach the step again")


def ctc_collapse(rw: Rewriter, node: Node) -> None:
    """The symbols of a path."""
    _emit(rw, node, CtcCollapse(blank=onnx_op(node).integer("blank", 0)))


def count_symbols(rw: Rewriter, node: Node) -> None:
    """How many symbols there are."""
    _emit(rw, node, CountSymbols())


def hysteresis(rw: Rewriter, node: Node) -> None:
    """What decisions leave for the next call."""
    numbers = [rw.graph.constants.get(name) for name in node.inputs[2:5]]
    fixed = [float(each.reshape(-1)[0]) for each in numbers if each is not None and each.size == 1]
    _demand(node, len(fixed) == 3, "its thresholds are not fixed")
    on, off, steps = fixed
    _emit(rw, node, Hysteresis(on=on, off=off, steps=int(steps)), 2)


def _emit(rw: Rewriter, node: Node, op: Op, operands: int = 1) -> None:
    """The operation with its first operands; the others are numbers that it has."""
    found = [rw.graph.tensors.get(name) for name in node.inputs[:operands]]
    xs = [x for x in found if x is not None]
    _demand(node, len(xs) == len(found), "it reads a constant")
    fault = op.fault(xs, (rw.graph.tensors[node.name],))
    _demand(node, not fault, fault)
    rw.make(op, tuple(x.name for x in xs), node.name)


# By the names of the operator table.
SEQUENCE_RULES: Mapping[str, Callable[[Rewriter, Node], None]] = {
    "ctc_collapse": ctc_collapse, "count_symbols": count_symbols, "hysteresis": hysteresis,
}  # fmt: skip

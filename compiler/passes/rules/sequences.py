"""Sequences of classes: nodes of `ends.functions.DOMAIN` behind a network."""

from collections.abc import Callable, Mapping
from functools import partial

from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.sequence_ops import CountSymbols, CtcCollapse
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.own_nodes import demand

_demand = partial(demand, hint="such nodes are made by `edgekiln attach`: attach the step again")


def ctc_collapse(rw: Rewriter, node: Node) -> None:
    """The symbols of a path."""
    _emit(rw, node, CtcCollapse(blank=onnx_op(node).integer("blank", 0)))


def count_symbols(rw: Rewriter, node: Node) -> None:
    """How many symbols there are."""
    _emit(rw, node, CountSymbols())


def _emit(rw: Rewriter, node: Node, op: Op) -> None:
    x = rw.graph.tensors.get(node.inputs[0])
    _demand(node, x is not None, "it reads a constant")
    assert x is not None
    fault = op.fault((x,), (rw.graph.tensors[node.name],))
    _demand(node, not fault, fault)
    rw.make(op, (x.name,), node.name)


# By the names of the operator table.
SEQUENCE_RULES: Mapping[str, Callable[[Rewriter, Node], None]] = {
    "ctc_collapse": ctc_collapse, "count_symbols": count_symbols,
}  # fmt: skip

"""Moves between operations that stay float: to round their values to codes would win nothing."""

from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import operators

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import onnx


def without_idle_moves(
    nodes: "list[onnx.NodeProto]", constants: "Collection[str]" = ()
) -> "list[onnx.NodeProto]":
    """The nodes but for those that only move values, such as Reshape, Slice or MaxPool, from or to
    no other integer operation, directly or by further moves.

    Args:
        nodes: that would become integer, in the model's order.
        constants: the names of weights. Rows of a table of them are taken from codes in any case,
            for the table's sake, which is a quarter as large.
    """
    behind = _beside_integers(nodes, constants)
    before = _beside_integers(reversed(nodes), constants, backwards=True)
    return [node for node in nodes if node.name in behind or node.name in before]


def _beside_integers(
    nodes: "Iterable[onnx.NodeProto]", constants: "Collection[str]", *, backwards: bool = False
) -> frozenset[str]:
    """The names of the operations that compute, and of the moves that they lead to."""
    found: set[str] = set()
    reached: set[str] = set()  # tensors
    for node in nodes:
        near, far = (node.input, node.output) if not backwards else (node.output, node.input)
        row = operators.of(node)
        computes = row is None or row.role != "pass-through" or node.input[0] in constants
        if computes or reached.intersection(near):
            found.add(node.name)
            reached.update(name for name in far if name)
    return frozenset(found)

"""Operations in a row, each of which alone reads what the one before it makes."""

from collections.abc import Iterator

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.moves import Reshape
from edgekiln.compiler.ir.node import Node


def readers_in_a_row(graph: Graph, users: dict[str, list[Node]], name: str) -> Iterator[Node]:
    """The only operation that reads the tensor, the only one that reads its result, and so on.

    Args:
        users: of `graph.consumers`.
    """
    while name not in graph.outputs and len(readers := users.get(name, [])) == 1:
        (node,) = readers
        yield node
        name = node.name


def only_reshapes(graph: Graph, node: Node) -> bool:
    """Whether the node is a reshape that gives the codes no other meaning."""
    if not isinstance(node.op, Reshape) or node.op.in_memory:
        return False
    x, y = graph.tensors[node.inputs[0]], graph.tensors[node.name]
    return (x.dtype, x.quant) == (y.dtype, y.quant)

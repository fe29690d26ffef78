"""The tables in which a network looks its indices up."""

from collections.abc import Iterable

from edgekiln.compiler.onnx_model.ends.graph_end import GraphEnd

# What an index may go through on its way.
_VIEWS = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten")


def tables(end: GraphEnd, names: Iterable[str]) -> Iterable[str]:
    """What is gathered from by these numbers, as they are or in another type or shape."""
    for name in names:
        for node in end.facts.readers.get(name, []):
            if node.op_type == "Gather" and node.input[1] == name:
                yield node.input[0]
            elif node.op_type in _VIEWS and node.input[0] == name:
                yield from tables(end, node.output)


def too_small(end: GraphEnd, largest: int, name: str) -> int:
    """The rows of a table that has none of number `largest`; 0: each has, as far as is known."""
    for table in tables(end, [name]):
        rows = end.facts.static(table)
        if rows and largest >= rows[0]:
            return rows[0]
    return 0

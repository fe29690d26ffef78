"""The tables in which a network looks its indices up."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model.ends.graph_end import GraphEnd

if TYPE_CHECKING:
    import onnx

_NUMBERS = {"Gather": 1, "OneHot": 0}  # which operand they are
# What an index may go through on its way.
_VIEWS = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten")


def readers(end: GraphEnd, names: Iterable[str]) -> Iterator["onnx.NodeProto"]:
    """What looks something up by these numbers, as they are or in another type or shape."""
    for name in names:
        for node in end.facts.readers.get(name, []):
            place = _NUMBERS.get(node.op_type)
            if place is not None and node.input[place] == name:
                yield node
            elif node.op_type in _VIEWS and node.input[0] == name:
                yield from readers(end, node.output)


def too_small(end: GraphEnd, largest: int, name: str) -> int:
    """The rows of a table, or the places of a OneHot, that has none of number `largest`; 0: each
    has, as far as is known.
    """
    for node in readers(end, [name]):
        rows = _rows(end, node)
        if rows and largest >= rows:
            return rows
    return 0


def _rows(end: GraphEnd, node: "onnx.NodeProto") -> int:
    """How many numbers it knows; 0: unknown."""
    if node.op_type == "OneHot":
        depth = end.facts.constant(node, 1)
        return 0 if depth is None else int(depth.reshape(-1)[0])
    shape = end.facts.static(node.input[0])
    axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
    return shape[axis] if shape else 0

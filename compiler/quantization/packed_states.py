"""States that stay float, with what moves them before something computes on them.

One that packs several tensors, such as an LSTM's h and c: one scale for all of them would be that
of the largest, and c may be ten times h. Apart, each gets a scale of its own where it is
multiplied. And one that floats alone read, such as c.
"""

from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import io

if TYPE_CHECKING:
    from collections.abc import Iterator, Set

    import onnx

_MOVES = frozenset("Flatten Identity Reshape Squeeze Transpose Unsqueeze".split())
_UNPACKS = _MOVES | frozenset(("Gather", "Slice", "Split"))


def packing(model: "onnx.ModelProto", floats: "Set[str]") -> set[str]:
    """The names of the nodes that unpack and pack such states; `floats` are those that stay float
    for other reasons.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    for name, after in io.read_meta(model).states:
        packs = list(_packs(makers, after))
        unpacks = list(_unpacking(model, name))
        moved = {name, *(result for node in unpacks for result in node.output)}
        names = {node.name for node in unpacks}
        readers = {n.name for n in model.graph.node if moved & {*n.input}} - names
        if any(node.op_type == "Concat" for node in packs) or readers <= floats:
            found |= {*names, *(node.name for node in packs)}
    return found


def _packs(makers: "dict[str, onnx.NodeProto]", name: str) -> "Iterator[onnx.NodeProto]":
    """What moves and joins the parts of a tensor, from the last on."""
    node = makers.get(name)
    if node is not None and node.op_type in (*_MOVES, "Concat"):
        yield node
        for operand in node.input if node.op_type == "Concat" else node.input[:1]:
            yield from _packs(makers, operand)


def _unpacking(model: "onnx.ModelProto", name: str) -> "Iterator[onnx.NodeProto]":
    """What moves and cuts a tensor, until something computes."""
    for node in model.graph.node:
        if node.op_type in _UNPACKS and node.input[0] == name:
            yield node
            for result in node.output:
                yield from _unpacking(model, result)

"""A concatenation without a pass over memory: its operands are written where its result lies."""

from dataclasses import replace

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.moves import Concat
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.rewrite import graph_pass
from edgekiln.compiler.ir.tensor import Part, Tensor

# Kernels take buffers at multiples of 64 bytes.
_ALIGN = 64


# Each pixel of the result, channels-last; the kernel of an operand writes its share of every one:
#
#     +-------------+-----------+-----------+
#     |      a      |     b     |     c     |   `Part.channels` in all
#     +-------------+-----------+-----------+
#     ^ start of a  ^ of b      ^ of c
@graph_pass
def concat_in_place(graph: Graph) -> None:
    """Make the operands parts of the result, where the kernel of each can write there, nobody else
    reads it, and none needs other parameters or a border.
    """
    producers, users = graph.producers(), graph.consumers()
    order = {node.name: place for place, node in enumerate(graph.nodes)}
    gone: set[str] = set()
    for node in graph.nodes:
        if not isinstance(node.op, Concat) or not _is_in_place(graph, producers, users, node):
            continue
        result = graph.tensors[node.name]
        # Not the last operand, but the one that is made last, completes the result.
        last = max(node.inputs, key=lambda name: order[name])
        start = 0
        for name in node.inputs:
            part = Part(
                whole=node.name, start=start, channels=result.shape[1], completes=name == last
            )
            graph.put(replace(graph.tensors[name], part=part))
            start += graph.tensors[name].shape[1]
        gone.add(node.name)
    graph.nodes = [node for node in graph.nodes if node.name not in gone]


def _is_in_place(
    graph: Graph, producers: dict[str, Node], users: dict[str, list[Node]], node: Node
) -> bool:
    result = graph.tensors[node.name]
    assert isinstance(node.op, Concat), node.name
    image = result.layout == "NHWC" and len(result.shape) == 4 and node.op.axis == 1
    if not image or node.op.finish or result.halo or node.name in graph.outputs:
        return False
    operands = [graph.tensors[name] for name in node.inputs]
    # An operand that stands there twice would have to lie in two places at once; one whose
    # channels are no multiple of the alignment would leave the next one where no kernel writes.
    return (
        len(set(node.inputs)) == len(node.inputs)
        and all(operand.shape[1] % _ALIGN == 0 for operand in operands)
        and all(_is_free(graph, producers, users, operand) for operand in operands)
    )


def _is_free(
    graph: Graph, producers: dict[str, Node], users: dict[str, list[Node]], operand: Tensor
) -> bool:
    """Whether the tensor may lie anywhere: made by a kernel that can, read by one node."""
    maker = producers.get(operand.name)
    # A program's outputs lie in memory of the caller's, not in a part of a buffer of ours.
    if maker is None or operand.name in graph.outputs or len(users[operand.name]) > 1:
        return False
    if operand.part or operand.halo or operand.layout != "NHWC":
        return False
    return maker.op.writes_parts()

"""A flattened image is read as it lies: the weights are reordered, not the image."""

from dataclasses import replace

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.linear import Dense
from edgekiln.compiler.ir.moves import Reshape
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.rewrite import graph_pass


@graph_pass
def absorb_flatten(graph: Graph) -> None:
    """reshape (N, C, H, W) → (N, C·H·W) → dense: reorder the weights instead of the image.

    Left alone: an image with a border, which other readers of it need. Its values do not lie
    behind each other.
    """
    users = graph.consumers()
    changed: dict[str, Node] = {}
    for node in graph.nodes:
        readers = users.get(node.name, [])
        if not _is_absorbed(graph, node, readers):
            continue
        changed[node.name] = replace(node, op=Reshape(in_memory=True))
        for reader in readers:
            assert isinstance(reader.op, Dense)
            op = reader.op.for_channels_last(graph.tensors[node.inputs[0]].shape)
            changed[reader.name] = replace(reader, op=op)
    graph.nodes = [changed.get(node.name, node) for node in graph.nodes]


def _is_absorbed(graph: Graph, node: Node, readers: list[Node]) -> bool:
    if not isinstance(node.op, Reshape) or node.op.in_memory or node.name in graph.outputs:
        return False
    image, flat = graph.tensors[node.inputs[0]], graph.tensors[node.name]
    return (
        image.layout == "NHWC"
        and not image.halo
        and flat.shape == (image.shape[0], image.elements // image.shape[0])
        and all(isinstance(reader.op, Dense) for reader in readers)
        # One pixel or one channel: both orders are the same, and the weights fit as they are.
        and not image.is_plain
    )

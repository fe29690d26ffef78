"""Floats that are quantized, and nothing else, are rounded by the kernel that makes them."""

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import Quantize
from edgekiln.compiler.ir.rewrite import graph_pass


@graph_pass
def fuse_quantize(graph: Graph) -> None:
    """Fuse where the quantization alone uses the floats: these are never stored.

    The codes are those of the two kernels: the floats are the same, and so is their rounding.
    """
    producers, users = graph.producers(), graph.consumers()
    codes: dict[str, str] = {}  # by the floats that they are made of
    for node in graph.nodes:
        if isinstance(node.op, Quantize) and _joins(graph, producers, users, node):
            codes[node.inputs[0]] = node.name
    gone = set(codes.values())
    graph.nodes = [node.renamed(codes) for node in graph.nodes if node.name not in gone]
    for name in codes:
        del graph.tensors[name]


def _joins(
    graph: Graph, producers: dict[str, Node], users: dict[str, list[Node]], node: Node
) -> bool:
    assert isinstance(node.op, Quantize), node.name
    (name,) = node.inputs
    producer = producers.get(name)
    if producer is None or node.op.half_away or name in graph.outputs:
        return False
    same = graph.tensors[name].shape == graph.tensors[node.name].shape
    alone = len(users[name]) == len(producer.outputs) == 1
    return same and alone and producer.op.takes_quantization()

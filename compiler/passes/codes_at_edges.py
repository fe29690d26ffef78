"""A microcontroller's program takes and gives codes: what its sensors deliver, a quarter of floats.

The scale and zero point of each stand in `model.h`. An input that anything else than a quantization
reads stays as it is, and so does an output that no dequantization makes.
"""

from dataclasses import replace

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import Dequantize, Quantize
from edgekiln.compiler.ir.rewrite import graph_pass


@graph_pass
def codes_at_edges(graph: Graph) -> None:
    """Drop the quantization of inputs and the dequantization of outputs."""
    edges = {*graph.inputs, *graph.outputs}
    for name in graph.given():
        readers = graph.consumers().get(name, [])
        # A second reader would still want the floats, which would then be made from the codes.
        if len(readers) != 1:
            continue
        (reader,) = readers
        # Codes that are an output, too, have a name of their own, which the model gave them.
        if isinstance(reader.op, Quantize) and reader.name not in edges:
            _take_place(graph, reader, reader.name, name)
    for name in graph.returned():
        maker = graph.producers().get(name)
        made = maker is not None and isinstance(maker.op, Dequantize)
        if maker is not None and made and maker.inputs[0] not in edges:
            _take_place(graph, maker, maker.inputs[0], name)


def _take_place(graph: Graph, gone: Node, codes: str, edge: str) -> None:
    """Remove the node `gone`: `codes` are then the program's `edge`, under its name."""
    graph.tensors[edge] = replace(graph.tensors.pop(codes), name=edge)
    graph.nodes = [node.renamed({codes: edge}) for node in graph.nodes if node is not gone]

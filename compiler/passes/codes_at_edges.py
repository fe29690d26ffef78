"""A microcontroller's program takes and gives codes: what its sensors deliver, a quarter of floats.

The scale and zero point of each stand in `model.h`. An input that anything else than a quantization
reads stays as it is, and so does an output that no dequantization makes.
"""

from dataclasses import replace

from edgekiln.compiler.ir.graph import Graph, Node


def codes_at_edges(graph: Graph) -> None:
    """Drop the quantization of inputs and the dequantization of outputs."""
    edges = {*graph.inputs, *graph.outputs}
    for name in graph.inputs:
        readers = graph.consumers().get(name, [])
        if len(readers) == 1 and readers[0].op == "quantize" and readers[0].name not in edges:
            _take_place(graph, readers[0], readers[0].name, name)
    for name in graph.outputs:
        maker = graph.producers().get(name)
        if maker is not None and maker.op == "dequantize" and maker.inputs[0] not in edges:
            _take_place(graph, maker, maker.inputs[0], name)


def _take_place(graph: Graph, gone: Node, codes: str, edge: str) -> None:
    """Without the node `gone`, `codes` are the program's `edge`, under its name."""

    def renamed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(edge if name == codes else name for name in names)

    graph.tensors[edge] = replace(graph.tensors.pop(codes), name=edge)
    graph.nodes = [
        replace(node, inputs=renamed(node.inputs), outputs=renamed(node.outputs))
        for node in graph.nodes
        if node.outputs != gone.outputs
    ]

"""A reshape that changes neither shape nor quantization is no work: two names become one."""

from dataclasses import replace

from edgekiln.compiler.graph import Graph, Node


def drop_identities(graph: Graph) -> None:
    """Let the producer write under the reshape's name, where it can have any layout and halo.

    Left alone: a reshape of a program's input or output, which keep the names the model gave them.
    """
    merged: dict[str, str] = {}
    for node in graph.nodes:
        if _is_identity(graph, node):
            merged[node.inputs[0]] = node.name

    def final(name: str) -> str:
        while name in merged:
            name = merged[name]
        return name

    graph.nodes = [
        replace(
            node,
            inputs=tuple(map(final, node.inputs)),
            outputs=tuple(map(final, node.outputs)),
        )
        for node in graph.nodes
        if merged.get(node.inputs[0]) != node.name
    ]
    for name in merged:
        del graph.tensors[name]


def _is_identity(graph: Graph, node: Node) -> bool:
    if node.op != "reshape" or node.inputs[0] in (*graph.inputs, *graph.outputs):
        return False
    x, y = graph.tensors[node.inputs[0]], graph.tensors[node.name]
    return (x.shape, x.dtype, x.quant) == (y.shape, y.dtype, y.quant)

"""Padding without a pass over memory: who writes an image leaves the border its readers need."""

from dataclasses import replace

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.memory import NO_HALO
from edgekiln.compiler.ir.moves import Requantize
from edgekiln.compiler.ir.rewrite import graph_pass


@graph_pass
def halo(graph: Graph) -> None:
    """Give each image the largest border that any of its readers needs."""
    for node in graph.nodes:
        # Windows slide over the first operand; residuals and constants are read without a border.
        for name in node.inputs[:1]:
            if name in graph.tensors and node.name in graph.tensors:
                image = graph.tensors[name]
                border = node.op.reads_border(image, graph.tensors[node.name])
                graph.put(replace(image, halo=image.halo.union(border)))
    _share_borders(graph)
    _copy_borderless(graph)


def _share_borders(graph: Graph) -> None:
    """What makes a state writes the border that its readers in the next call need."""
    for state in graph.states:
        first, last = graph.tensors[state.input], graph.tensors[state.output]
        if first.quant == last.quant:  # else the border's zeros would be other codes
            border = first.halo.union(last.halo)
            graph.put(replace(first, halo=border))
            graph.put(replace(last, halo=border))


def _copy_borderless(graph: Graph) -> None:
    """The program's own input has no border: copy it into an image that has one."""
    states = {state.input: graph.tensors[state.output] for state in graph.states}
    for tensor in list(graph.arrays(graph.inputs)):
        last = states.get(tensor.name)
        if not tensor.halo or (last is not None and last.halo == tensor.halo):
            continue
        graph.put(replace(tensor, halo=NO_HALO))
        graph.insert_edge(
            tensor.name, replace(tensor, name=f"{tensor.name}:bordered"), Requantize()
        )

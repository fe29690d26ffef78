"""Padding without a pass over memory: who writes an image leaves the border its readers need."""

from dataclasses import replace

from edgekiln.compiler.graph import Graph
from edgekiln.compiler.kernels.spec import NO_HALO, Halo


def halo(graph: Graph) -> None:
    """Give each image the largest border any convolution or average pool reads."""
    for node in graph.nodes:
        if any(node.attrs.get("pads", ())) and node.op in ("conv2d", "avg_pool"):
            top, left, bottom, right = node.attrs["pads"]
            border = Halo(top=top, left=left, bottom=bottom, right=right)
            source = graph.tensors[node.inputs[0]]
            graph.retype(source.name, halo=source.halo.union(border))
    _copy_borderless(graph)


def _copy_borderless(graph: Graph) -> None:
    """The program's own input has no border: copy it into an image that has one."""
    for tensor in list(graph.quantized(graph.inputs)):
        if not any(vars(tensor.halo).values()):
            continue
        graph.retype(tensor.name, halo=NO_HALO)
        graph.insert_edge(tensor.name, replace(tensor, name=f"{tensor.name}:bordered"))

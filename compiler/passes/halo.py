"""Padding without a pass over memory: who writes an image leaves the border its readers need."""

from dataclasses import replace

from edgekiln.compiler.ir.graph import Graph, Node, Tensor
from edgekiln.compiler.ir.memory import NO_HALO, Halo


def halo(graph: Graph) -> None:
    """Give each image the largest border any convolution or average pool reads."""
    for node in graph.nodes:
        if node.op in ("conv2d", "avg_pool"):
            source = graph.tensors[node.inputs[0]]
            border = _reach(node, source, graph.tensors[node.name])
            graph.retype(source.name, halo=source.halo.union(border))
    _copy_borderless(graph)


def _reach(node: Node, image: Tensor, result: Tensor) -> Halo:
    """How far the windows reach over the image: less than the pads where a stride skips their end,
    more where `ceil_mode` adds a window.
    """
    top, left, _, _ = node.attrs["pads"]
    sizes = zip(image.shape[2:], result.shape[2:], node.attrs["kernel"], strict=True)
    over = [
        (out - 1) * stride + (taps - 1) * dilation + 1 - before - extent
        for (extent, out, taps), stride, dilation, before in zip(
            sizes,
            node.attrs["strides"],
            node.attrs.get("dilations", (1, 1)),
            (top, left),
            strict=True,
        )
    ]
    return Halo(top=top, left=left, bottom=max(0, over[0]), right=max(0, over[1]))


def _copy_borderless(graph: Graph) -> None:
    """The program's own input has no border: copy it into an image that has one."""
    for tensor in list(graph.arrays(graph.inputs)):
        if not tensor.halo:
            continue
        graph.retype(tensor.name, halo=NO_HALO)
        graph.insert_edge(tensor.name, replace(tensor, name=f"{tensor.name}:bordered"))

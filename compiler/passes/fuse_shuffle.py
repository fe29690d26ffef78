"""concat → channel shuffle → slices: one interleaving copy for each result.

A channel shuffle (Zhang et al. 2017, arXiv:1707.01083) is reshape (N, G, C/G, H, W), transpose of
the two channel axes, reshape back: the G groups of channels taken in turn.
"""

from dataclasses import replace
from typing import Any

from edgekiln.compiler.ir.graph import Graph, Node
from edgekiln.compiler.passes.qdq_to_integer import remove_unused

_SWAP = (0, 2, 1, 3, 4)


def fuse_shuffle(graph: Graph) -> None:
    """Emit "interleave": channel i·G + j of the result is channel starts[j] + i of input j,
    requantized within "lo" and "hi" where the concatenation did that.
    """
    producers = graph.producers()
    fused: dict[str, Node] = {}
    for node in graph.nodes:
        found = _shuffle(graph, producers, node) or _slice(graph, fused, node)
        if found is not None:
            fused[node.name] = found
    graph.nodes = [fused.get(node.name, node) for node in graph.nodes]
    remove_unused(graph)


def _shuffle(graph: Graph, producers: dict[str, Node], node: Node) -> Node | None:
    """The last reshape of a shuffle, as an interleaving copy."""
    swap = producers.get(node.inputs[0])
    if node.op != "reshape" or swap is None or swap.op != "transpose":
        return None
    split = producers.get(swap.inputs[0])
    if swap.attrs["perm"] != _SWAP or split is None or split.op != "reshape":
        return None
    source, result = graph.tensors[split.inputs[0]], graph.tensors[node.name]
    n, groups, channels, h, w = graph.tensors[split.name].shape
    if not source.shape == result.shape == (n, groups * channels, h, w):
        return None
    concat = producers.get(source.name)
    if concat is not None and _joins(graph, concat, groups, channels):
        attrs: dict[str, Any] = {"starts": (0,) * groups}
        attrs |= {key: concat.attrs[key] for key in ("lo", "hi") if key in concat.attrs}
        return replace(node, op="interleave", inputs=concat.inputs, attrs=attrs)
    starts = tuple(channels * j for j in range(groups))
    return replace(node, op="interleave", inputs=(source.name,) * groups, attrs={"starts": starts})


def _joins(graph: Graph, concat: Node, groups: int, channels: int) -> bool:
    """Whether a concatenation's operands are the groups, as they are."""
    return (
        concat.op == "concat"
        and concat.attrs["axis"] == 1
        and len(concat.inputs) == groups
        and all(graph.tensors[name].shape[1] == channels for name in concat.inputs)
    )


def _slice(graph: Graph, fused: dict[str, Node], node: Node) -> Node | None:
    """A slice of whole turns of the groups: a shorter interleaving copy."""
    shuffle = fused.get(node.inputs[0]) if node.op == "slice" else None
    if shuffle is None:
        return None
    groups = len(shuffle.inputs)
    begin, channels = node.attrs["begin"], graph.tensors[node.name].shape[1]
    whole = graph.tensors[shuffle.name].shape
    others = [axis for axis in range(len(whole)) if axis != 1]
    same = all(graph.tensors[node.name].shape[axis] == whole[axis] for axis in others)
    if not same or set(node.attrs["steps"]) != {1} or begin[1] % groups or channels % groups:
        return None
    starts = tuple(start + begin[1] // groups for start in shuffle.attrs["starts"])
    attrs = {**shuffle.attrs, "starts": starts}
    return replace(node, op="interleave", inputs=shuffle.inputs, attrs=attrs)

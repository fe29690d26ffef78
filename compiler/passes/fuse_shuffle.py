"""concat → channel shuffle → slices: one interleaving copy for each result.

A channel shuffle (Zhang et al. 2017, arXiv:1707.01083) is reshape (N, G, C/G, H, W), transpose of
the two channel axes, reshape back: the G groups of channels taken in turn.
"""

from dataclasses import replace

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.moves import Concat, Interleave, Reshape, Slice, Transpose
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.rewrite import graph_pass, remove_unused
from edgekiln.compiler.ir.tensor import BYTES

# (N, G, C/G, H, W): groups change places with the channels in them.
_SWAP = (0, 2, 1, 3, 4)


@graph_pass
def fuse_shuffle(graph: Graph) -> None:
    """Emit "interleave", which requantizes where the concatenation did that."""
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
    if not isinstance(node.op, Reshape) or swap is None or not isinstance(swap.op, Transpose):
        return None
    split = producers.get(swap.inputs[0])
    if swap.op.perm != _SWAP or split is None or not isinstance(split.op, Reshape):
        return None
    source, result = graph.tensors[split.inputs[0]], graph.tensors[node.name]
    # The permutation has five axes, and so has what it reads.
    n, groups, channels, h, w = graph.tensors[split.name].shape
    if not source.shape == result.shape == (n, groups * channels, h, w):
        return None
    concat = producers.get(source.name)
    # The copy reads the operands where they are: the concatenation need not be made at all.
    if concat is not None and _joins(graph, concat, groups, channels):
        assert isinstance(concat.op, Concat)
        op = Interleave(starts=(0,) * groups, finish=concat.op.finish)
        return replace(node, op=op, inputs=concat.inputs)
    op = Interleave(starts=tuple(channels * j for j in range(groups)))
    return replace(node, op=op, inputs=(source.name,) * groups)


def _joins(graph: Graph, concat: Node, groups: int, channels: int) -> bool:
    """Whether a concatenation's operands are the groups, as they are."""
    return (
        isinstance(concat.op, Concat)
        and concat.op.axis == 1
        and len(concat.inputs) == groups
        and all(graph.tensors[name].shape[1] == channels for name in concat.inputs)
        # Requantized by tables.
        and (concat.op.finish is None or _are_bytes(graph, (*concat.inputs, concat.name)))
    )


def _are_bytes(graph: Graph, names: tuple[str, ...]) -> bool:
    return {graph.tensors[name].dtype for name in names} <= BYTES


def _slice(graph: Graph, fused: dict[str, Node], node: Node) -> Node | None:
    """A slice of whole turns of the groups: a shorter interleaving copy."""
    shuffle, cut = fused.get(node.inputs[0]), node.op
    if shuffle is None or not isinstance(cut, Slice) or not isinstance(shuffle.op, Interleave):
        return None
    groups = len(shuffle.inputs)
    first, channels = cut.begin[1], graph.tensors[node.name].shape[1]
    whole = graph.tensors[shuffle.name].shape
    others = [axis for axis in range(len(whole)) if axis != 1]
    same = all(graph.tensors[node.name].shape[axis] == whole[axis] for axis in others)
    # A cut within a turn would begin with another group than the first.
    if not same or set(cut.steps) != {1} or first % groups or channels % groups:
        return None
    starts = tuple(start + first // groups for start in shuffle.op.starts)
    return replace(node, op=replace(shuffle.op, starts=starts), inputs=shuffle.inputs)

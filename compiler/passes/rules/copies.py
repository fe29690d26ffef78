"""Operators that copy values: each several times side by side, or blocks of them."""

from dataclasses import replace

from edgekiln.compiler.ir.moves import Repeat, Reshape
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.passes.rewriter import Rewriter


def expand(rw: Rewriter, node: Node) -> str | None:
    """Along an axis of extent 1 each value is repeated; there may be more axes in front."""
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    shape = rw.graph.tensors[node.name].shape
    x = _as(rw, node, x, (*[1] * (len(shape) - len(x.shape)), *x.shape), "leading")
    repeats = tuple(out // extent for out, extent in zip(shape, x.shape, strict=True))
    rw.move(node, Repeat(repeats=repeats), (x.name,))
    return None


def tile(rw: Rewriter, node: Node) -> str | None:
    """An axis of extent 1 in front of one that is tiled is repeated, and both become one."""
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    # (2, 3) tiled by (1, 2): seen as (2, 1, 3), repeated to (2, 2, 3), seen as (2, 6).
    split: list[int] = []
    repeats: list[int] = []
    for out, extent in zip(rw.graph.tensors[node.name].shape, x.shape, strict=True):
        times = out // extent
        split += [1, extent] if times > 1 and extent > 1 else [extent]
        repeats += [times, 1] if times > 1 and extent > 1 else [times]
    apart = _as(rw, node, x, tuple(split), "apart")
    if len(split) == len(x.shape):
        rw.move(node, Repeat(repeats=tuple(repeats)), (x.name,))
        return None
    extents = tuple(extent * times for extent, times in zip(split, repeats, strict=True))
    tiles = rw.graph.put(replace(x, name=f"{node.name}:tiles", shape=extents))
    rw.make(Repeat(repeats=tuple(repeats)), (apart.name,), tiles.name)
    rw.move(node, Reshape(), (tiles.name,))
    return None


def _as(rw: Rewriter, node: Node, x: Tensor, shape: tuple[int, ...], what: str) -> Tensor:
    """The same values in another shape."""
    if shape == x.shape:
        return x
    seen = rw.graph.put(replace(x, name=f"{node.name}:{what}", shape=shape))
    rw.make(Reshape(), (x.name,), seen.name)
    return seen

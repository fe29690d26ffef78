"""Codes of 16 bits: which operations have kernels for them, and whether 32 bits hold their sums."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.codes import IntFinish, Quant
from edgekiln.compiler.ir.moves import Concat, Requantize, Reshape, Slice, Transpose
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import MaxPool
from edgekiln.compiler.ir.tensor import BYTES, QMAX, QMIN, WORD, Tensor
from edgekiln.compiler.passes.walk import Walk

# The rules, by their names in `rules.table`, whose operations take codes of 16 bits and give them.
RULES = frozenset(
    "add average_pool clip concat conv depth_to_space div expand gemm global_average_pool "
    "global_max_pool matmul max max_pool min mul pad prelu reduce_mean reshape resize slice "
    "space_to_depth split tile transpose".split()
)
# What hands on the codes that it reads.
_HANDS_ON = (Concat, MaxPool, Reshape, Slice, Transpose)
_FINER = 128  # steps of a byte's scale: 255 of them are codes of 16 bits


def has_words(walk: Walk, node: Node, output: str) -> bool:
    """Whether an operator reads codes of 16 bits, or gives them.

    Args:
        output: the type of its result's codes; "" for none.
    """
    read = {walk.graph.tensors[walk.view[name]].dtype for name in node.inputs if name in walk.view}
    return WORD in read or output == WORD


def code_range(walk: Walk, tensor: Tensor) -> tuple[int, int]:
    """The least and the largest code that an activation can have."""
    node = walk.made.get(tensor.name)
    finish = getattr(node.op, "finish", None) if node is not None else None
    if isinstance(finish, IntFinish):
        return finish.limits
    if node is not None and isinstance(node.op, _HANDS_ON):
        ranges = [code_range(walk, walk.graph.tensors[name]) for name in node.inputs]
        return min(low for low, _ in ranges), max(high for _, high in ranges)
    return QMIN[tensor.dtype], QMAX[tensor.dtype]


def largest_sums(
    walk: Walk, x: Tensor, weights: NDArray[np.generic], out_axis: int
) -> NDArray[np.int64]:
    """The largest sums of products that there can be, without their sign: (OC,)."""
    assert x.quant is not None, x.name
    # A border is of the zero point, and adds nothing.
    low, high = (code - x.quant.zero_point for code in code_range(walk, x))
    rows = np.moveaxis(weights.astype(np.int64), out_axis, 0).reshape(weights.shape[out_axis], -1)
    above, below = rows.clip(min=0).sum(axis=1), rows.clip(max=0).sum(axis=1)
    most = above * max(high, 0) + below * min(low, 0)
    least = above * min(low, 0) + below * max(high, 0)
    sums: NDArray[np.int64] = np.maximum(most, -least)
    return sums


def may_add(x: Tensor, count: int) -> bool:
    """Whether 32 bits hold the sum of so many codes of an activation, and that without its zero
    point; floats are no codes.
    """
    if x.quant is None:
        return True
    low, high, zero = QMIN[x.dtype], QMAX[x.dtype], x.quant.zero_point
    # Bytes of one type may yet become those of the other.
    largest = high - low if x.dtype in BYTES else max(-low, high - zero, zero - low)
    return count * largest <= np.iinfo(np.int32).max


def widened(walk: Walk, x: Tensor) -> tuple[Node | None, Tensor]:
    """The same values as codes of 16 bits, exactly, and what makes them of bytes."""
    if x.dtype not in BYTES or x.quant is None:
        return None, x
    scale = float(np.float32(x.quant.scale) / np.float32(_FINER))
    quant = Quant(scale=scale, zero_point=0)
    wide = replace(x, name=f"{x.name}:wide", dtype=WORD, quant=quant)
    if x.name in walk.graph.constants:
        centred = walk.graph.constants[x.name].astype(np.int32) - x.quant.zero_point
        walk.graph.constants[wide.name] = (centred * _FINER).astype(WORD)
    known = wide.name in walk.graph.tensors
    walk.graph.put(wide)
    if known or x.name in walk.graph.constants:
        return None, wide
    finish = IntFinish(qmin=QMIN[WORD], qmax=QMAX[WORD])
    made = Node(op=Requantize(finish=finish), inputs=(x.name,), outputs=(wide.name,))
    return made, wide

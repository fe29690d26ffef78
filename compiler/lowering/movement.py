"""Operations that move or requantize: no work where the bytes already lie right, else a copy."""

from dataclasses import dataclass, replace
from math import prod

from edgekiln.compiler.ir.codes import IntFinish
from edgekiln.compiler.ir.moves import (
    Concat,
    DepthToSpace,
    Interleave,
    Pad,
    Repeat,
    Requantize,
    Reshape,
    Slice,
    SpaceToDepth,
    Take,
    TakePacked,
    Transpose,
)  # fmt: skip
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.tensor import Tensor, dense_strides
from edgekiln.compiler.kernels import interleave as interleaving
from edgekiln.compiler.kernels.copy import CopyKernel, requantization
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.take import TakeKernel
from edgekiln.compiler.kernels.take_packed import TakePackedKernel
from edgekiln.compiler.lowering.finish import code_clip
from edgekiln.compiler.lowering.state import Lowering


@dataclass(kw_only=True)
class _Side:
    """Where the values that are moved lie in a tensor: elements from one to the next on each axis
    of the copy, and to the first.
    """

    strides: tuple[int, ...]
    offset: int


def _side(tensor: Tensor) -> _Side:
    strides, offset = tensor.strides()
    return _Side(strides=strides, offset=offset)


def _copy(
    low: Lowering,
    node: Node,
    x: _Side,
    y: _Side,
    *,
    shape: tuple[int, ...] | None = None,
    finish: IntFinish | None = None,
    fill: float | None = None,
    operand: int | None = None,
    as_is: bool = False,
) -> None:
    """A call of the copy kernel over the axes of the result, if no others are given.

    Args:
        as_is: codes stay what they are, though the result's stand for other numbers.
        operand: one of several that are copied into the result, the first with its border.
    """
    result = low.tensor(node.name)
    source = low.tensor(node.inputs[operand or 0])
    kernel = CopyKernel(
        shape=result.shape if shape is None else shape,
        x=(replace(source, quant=result.quant) if as_is else source).nhwc(),
        y=result.nhwc(),
        x_strides=x.strides,
        y_strides=y.strides,
        x_offset=x.offset,
        y_offset=y.offset,
        clip=code_clip(finish),
        border=not operand,
        fill=fill,
    )
    low.call(node, built(kernel, low.mk), partial=operand)


def requantize(low: Lowering, node: Node, op: Requantize) -> None:
    """A copy whose codes get another scale and zero point."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    _copy(low, node, _side(x), _side(y), finish=op.finish)


def reshape(low: Lowering, node: Node, op: Reshape) -> None:
    """The same values in the same ONNX order: no work when they lie in that order in memory."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    # A program's output is memory of the caller's: what lies elsewhere is copied there.
    if (op.in_memory or (x.is_plain and y.is_plain)) and y.name not in low.graph.outputs:
        low.alias(y.name, x.name)
    elif x.shape == y.shape:  # an image, read with another scale
        _copy(low, node, _side(x), _side(y), as_is=True)
    elif y.is_plain:  # read x in ONNX's order, write densely
        dense = _Side(strides=dense_strides(x.shape), offset=_side(y).offset)
        _copy(low, node, _side(x), dense, shape=x.shape, as_is=True)
    else:
        assert x.is_plain, f"{node.name}: a reshape between two channels-last images"  # by `layout`
        dense = _Side(strides=dense_strides(y.shape), offset=0)
        _copy(low, node, dense, _side(y), as_is=True)


def transpose(low: Lowering, node: Node, op: Transpose) -> None:
    """A copy in another order of axes: no work where memory has that order already."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    # Axis i of y is axis perm[i] of x: the axes of x in the order in which y's lie in memory.
    order = tuple(op.perm[axis] for axis in y.memory_order())
    # An alias has the border of what it stands for: others are copied.
    bordered = x.halo or y.halo
    if order == x.memory_order() and not bordered and y.name not in low.graph.outputs:
        low.alias(y.name, x.name)
        return
    source = _side(x)
    source.strides = tuple(source.strides[axis] for axis in op.perm)
    _copy(low, node, source, _side(y))


def pad(low: Lowering, node: Node, op: Pad) -> None:
    """A copy into the middle of a larger tensor, and the fill around it."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    to = _side(y)
    to.offset += sum(s * before for s, before in zip(to.strides, op.before, strict=True))
    _copy(low, node, _side(x), to, shape=x.shape, fill=op.fill.value)


def slice_(low: Lowering, node: Node, op: Slice) -> None:
    """A copy of every so-manieth value from a first one on."""
    source = _side(low.tensor(node.inputs[0]))
    source.offset += sum(s * begin for s, begin in zip(source.strides, op.begin, strict=True))
    source.strides = tuple(s * step for s, step in zip(source.strides, op.steps, strict=True))
    _copy(low, node, source, _side(low.tensor(node.name)))


def concat(low: Lowering, node: Node, op: Concat) -> None:
    """One copy an operand, side by side into the result."""
    to = _side(low.tensor(node.name))
    for i, name in enumerate(node.inputs):
        x = low.tensor(name)
        _copy(low, node, _side(x), to, shape=x.shape, finish=op.finish, operand=i)
        # The next operand begins where this one ended.
        to.offset += to.strides[op.axis] * x.shape[op.axis]


def interleave(low: Lowering, node: Node, op: Interleave) -> None:
    """Channels of two tensors in turn, which is what a channel shuffle does."""
    xs = tuple(low.tensor(name).nhwc() for name in node.inputs)
    y, finish = low.tensor(node.name).nhwc(), op.finish
    tables = tuple(None if finish is None else requantization(x, y, finish.limits) for x in xs)
    kernel = interleaving.InterleaveKernel(xs=xs, y=y, starts=op.starts, tables=tables)
    low.call(node, built(kernel, low.mk))


def take(low: Lowering, node: Node, op: Take) -> None:
    """A copy of the rows that the second operand numbers."""
    x, index = (low.tensor(name) for name in node.inputs)
    kernel = TakeKernel(
        outer=prod(x.shape[: op.axis]),
        rows=x.shape[op.axis],
        inner=prod(x.shape[op.axis + 1 :]),
        count=index.elements,
        dtype=x.dtype,
        index=index.dtype,
        last_is_other=op.last_is_other,
    )
    low.call(node, built(kernel, low.kernels_of(node)))


def take_packed(low: Lowering, node: Node, op: TakePacked) -> None:
    """Rows of a table of four bits a value, as floats."""
    table, _, index = (low.tensor(name) for name in node.inputs)
    kernel = TakePackedKernel(
        rows=table.shape[0], width=op.width, count=index.elements, index=index.dtype
    )
    low.call(node, built(kernel, low.kernels_of(node)))


def repeat(low: Lowering, node: Node, op: Repeat) -> None:
    """Each value several times along each axis: the added axes stand still in the input."""
    x = low.tensor(node.inputs[0])
    source, to = _side(x), _side(low.tensor(node.name))
    # A stride of 0 reads the same value again.
    source.strides = (*source.strides, *(0 for _ in op.repeats))
    each = zip(to.strides, op.repeats, strict=True)
    to.strides = (*(s * times for s, times in each), *to.strides)
    _copy(low, node, source, to, shape=(*x.shape, *op.repeats))


def depth_to_space(low: Lowering, node: Node, op: DepthToSpace) -> None:
    """A copy that lays the channels of each pixel out as a block of pixels."""
    small, large = low.tensor(node.inputs[0]), low.tensor(node.name)
    shape, pixels, blocks = _block_sides(op, small, large)
    _copy(low, node, pixels, blocks, shape=shape)


def space_to_depth(low: Lowering, node: Node, op: SpaceToDepth) -> None:
    """A copy that makes the channels of one pixel of each block of pixels."""
    large, small = low.tensor(node.inputs[0]), low.tensor(node.name)
    shape, pixels, blocks = _block_sides(op, small, large)
    _copy(low, node, blocks, pixels, shape=shape)


def _block_sides(
    op: DepthToSpace | SpaceToDepth, small: Tensor, large: Tensor
) -> tuple[tuple[int, ...], _Side, _Side]:
    """The axes (N, C, H, W, row in a block, column in it), and where they lie in both images."""
    (n, _, h, w), channels, block = small.shape, large.shape[1], op.block
    pixels, blocks = _side(small), _side(large)
    sn, sc, sh, sw = pixels.strides
    a_channel, in_block = (block * block, 1) if op.channels_first else (1, channels)
    pixels.strides = (sn, sc * a_channel, sh, sw, sc * in_block * block, sc * in_block)
    # A step between pixels of the small image is one between blocks of the large one.
    bn, bc, bh, bw = blocks.strides
    blocks.strides = (bn, bc, bh * block, bw * block, bh, bw)
    return (n, channels, h, w, block, block), pixels, blocks

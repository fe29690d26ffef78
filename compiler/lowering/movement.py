"""Operations that move or requantize: no work where the bytes already lie right, else a copy."""

from dataclasses import dataclass, replace

from edgekiln.compiler.ir.codes import IntFinish
from edgekiln.compiler.ir.moves import (
    Concat,
    Interleave,
    Pad,
    Repeat,
    Requantize,
    Reshape,
    Slice,
    Transpose,
)  # fmt: skip
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.tensor import Tensor, dense_strides
from edgekiln.compiler.kernels import interleave as interleaving
from edgekiln.compiler.kernels.copy import CopyKernel, requantization
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
    low.call(node, kernel.build(low.mk), partial=operand)


def requantize(low: Lowering, node: Node, op: Requantize) -> None:
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    _copy(low, node, _side(x), _side(y), finish=op.finish)


def reshape(low: Lowering, node: Node, op: Reshape) -> None:
    """The same values in the same ONNX order: no work when they lie in that order in memory."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
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
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    order = tuple(op.perm[axis] for axis in y.memory_order())
    bordered = x.halo or y.halo
    if order == x.memory_order() and not bordered and y.name not in low.graph.outputs:
        low.alias(y.name, x.name)
        return
    source = _side(x)
    source.strides = tuple(source.strides[axis] for axis in op.perm)
    _copy(low, node, source, _side(y))


def pad(low: Lowering, node: Node, op: Pad) -> None:
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    to = _side(y)
    to.offset += sum(s * before for s, before in zip(to.strides, op.before, strict=True))
    _copy(low, node, _side(x), to, shape=x.shape, fill=op.fill.value)


def slice_(low: Lowering, node: Node, op: Slice) -> None:
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
        to.offset += to.strides[op.axis] * x.shape[op.axis]


def interleave(low: Lowering, node: Node, op: Interleave) -> None:
    xs = tuple(low.tensor(name).nhwc() for name in node.inputs)
    y, finish = low.tensor(node.name).nhwc(), op.finish
    tables = tuple(None if finish is None else requantization(x, y, finish.limits) for x in xs)
    kernel = interleaving.InterleaveKernel(xs=xs, y=y, starts=op.starts, tables=tables)
    low.call(node, kernel.build(low.mk))


def repeat(low: Lowering, node: Node, op: Repeat) -> None:
    """Each value several times along each axis: the added axes stand still in the input."""
    x = low.tensor(node.inputs[0])
    source, to = _side(x), _side(low.tensor(node.name))
    source.strides = (*source.strides, *(0 for _ in op.repeats))
    each = zip(to.strides, op.repeats, strict=True)
    to.strides = (*(s * times for s, times in each), *to.strides)
    _copy(low, node, source, to, shape=(*x.shape, *op.repeats))

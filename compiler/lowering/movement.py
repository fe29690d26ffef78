"""Operations that move or requantize: no work where the bytes already lie right, else a copy."""

from math import prod
from typing import Any

from edgekiln.compiler.ir.graph import Node
from edgekiln.compiler.kernels.copy import Copy, requantization
from edgekiln.compiler.kernels.interleave import Interleave
from edgekiln.compiler.lowering.state import Lowering
from edgekiln.compiler.passes.layout import is_plain, memory_order


def _copy(low: Lowering, node: Node, partial: int | None = None, **details: Any) -> None:
    """A call of the copy kernel over the axes of the result, or of what `details` says."""
    x, y = low.tensor(node.inputs[partial or 0]), low.tensor(node.name)
    (x_strides, x_offset), (y_strides, y_offset) = x.strides(), y.strides()
    values: dict[str, Any] = {
        "shape": y.shape,
        "x_strides": x_strides,
        "y_strides": y_strides,
        "x_offset": x_offset,
        "y_offset": y_offset,
    }
    values |= details
    kernel = Copy(x=x.nhwc(), y=y.nhwc(), **values).build(low.mk)
    low.call(node, kernel, partial=partial)


def _clip(node: Node) -> tuple[int, int] | None:
    return (node.attrs["lo"], node.attrs["hi"]) if "lo" in node.attrs else None


def requantize(low: Lowering, node: Node) -> None:
    _copy(low, node, clip=_clip(node))


def reshape(low: Lowering, node: Node) -> None:
    """The same values in the same ONNX order: no work when they lie in that order in memory."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    plain = node.attrs.get("memory") or (is_plain(x) and is_plain(y))
    if plain and y.name not in low.graph.outputs:
        low.aliases[y.name] = low.aliases.get(x.name, x.name)
        return
    if is_plain(y):  # read x in ONNX's order, write densely
        strides, offset = x.strides()
        dense = tuple(prod(x.shape[axis + 1 :]) for axis in range(len(x.shape)))
        _copy(low, node, shape=x.shape, x_strides=strides, x_offset=offset, y_strides=dense)
        return
    assert is_plain(x), f"{node.name}: a reshape between two channels-last images"
    dense = tuple(prod(y.shape[axis + 1 :]) for axis in range(len(y.shape)))
    _copy(low, node, x_strides=dense, x_offset=0)


def transpose(low: Lowering, node: Node) -> None:
    x, y, perm = low.tensor(node.inputs[0]), low.tensor(node.name), node.attrs["perm"]
    order = tuple(perm[axis] for axis in memory_order(y))
    bordered = x.halo or y.halo
    if order == memory_order(x) and not bordered and y.name not in low.graph.outputs:
        low.aliases[y.name] = low.aliases.get(x.name, x.name)
        return
    strides, _ = x.strides()
    _copy(low, node, x_strides=tuple(strides[axis] for axis in perm))


def pad(low: Lowering, node: Node) -> None:
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    strides, offset = y.strides()
    offset += sum(s * before for s, before in zip(strides, node.attrs["before"], strict=True))
    _copy(low, node, shape=x.shape, y_offset=offset, fill=node.attrs["value"])


def slice_(low: Lowering, node: Node) -> None:
    strides, offset = low.tensor(node.inputs[0]).strides()
    begin, steps = node.attrs["begin"], node.attrs["steps"]
    _copy(
        low,
        node,
        x_offset=offset + sum(s * b for s, b in zip(strides, begin, strict=True)),
        x_strides=tuple(s * step for s, step in zip(strides, steps, strict=True)),
    )


def concat(low: Lowering, node: Node) -> None:
    """One copy an operand, side by side into the result."""
    axis = node.attrs["axis"]
    strides, offset = low.tensor(node.name).strides()
    for i, name in enumerate(node.inputs):
        shape = low.tensor(name).shape
        _copy(low, node, i, shape=shape, y_offset=offset, border=i == 0, clip=_clip(node))
        offset += strides[axis] * shape[axis]


def interleave(low: Lowering, node: Node) -> None:
    xs = tuple(low.tensor(name).nhwc() for name in node.inputs)
    y, clip = low.tensor(node.name).nhwc(), _clip(node)
    tables = tuple(None if clip is None else requantization(x, y, clip) for x in xs)
    kernel = Interleave(xs=xs, y=y, starts=node.attrs["starts"], tables=tables)
    low.call(node, kernel.build(low.mk))


def repeat(low: Lowering, node: Node) -> None:
    """Each value several times along each axis: the added axes stand still in the input."""
    x, y, repeats = low.tensor(node.inputs[0]), low.tensor(node.name), node.attrs["repeats"]
    (x_strides, _), (y_strides, _) = x.strides(), y.strides()
    _copy(
        low,
        node,
        shape=(*x.shape, *repeats),
        x_strides=(*x_strides, *(0 for _ in repeats)),
        y_strides=(*(s * r for s, r in zip(y_strides, repeats, strict=True)), *y_strides),
    )

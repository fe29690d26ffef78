"""Operations on each value or window: elementwise, pools, and the float edge."""

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.codes import FloatFinish, IntFinish
from edgekiln.compiler.ir.element_ops import Elements
from edgekiln.compiler.ir.memory import NO_HALO, Nhwc, Planes
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import (
    AveragePool,
    Binary,
    GlobalAveragePool,
    Lookup,
    Map,
    MaxPool,
    Quantize,
)  # fmt: skip
from edgekiln.compiler.ir.tensor import Tensor, dense_strides
from edgekiln.compiler.ir.window import Window
from edgekiln.compiler.kernels import convert, pool, unary
from edgekiln.compiler.kernels.binary import BinaryKernel, factors
from edgekiln.compiler.kernels.elements import ElementsKernel, Spread, merged
from edgekiln.compiler.kernels.epilogue.finish import ActivationFinish, RequantizeFinish
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.types import in_rows
from edgekiln.compiler.lowering.finish import finish_of
from edgekiln.compiler.lowering.state import Lowering

# What the kernel calls them: as ONNX does.
_ARITHMETIC = {
    "add": "Add", "div": "Div", "max": "Max", "min": "Min", "mul": "Mul", "prelu": "PRelu",
}  # fmt: skip


def quantize(low: Lowering, node: Node, op: Quantize) -> None:
    """Floats in, codes out: one call, which also changes the order where they lie otherwise."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    codes, floats = _sides(y, x)
    make = convert.HalfAwayKernel if op.half_away else convert.QuantizeKernel
    kernel = make(x=floats, y=codes)
    low.call(node, built(kernel, low.mk))


def dequantize(low: Lowering, node: Node) -> None:
    """Codes in, floats out, as `quantize`."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    codes, floats = _sides(x, y)
    low.call(node, built(convert.DequantizeKernel(x=codes, y=floats), low.mk))


def _sides(codes: Tensor, floats: Tensor) -> tuple[Nhwc, Nhwc | Planes]:
    """How codes and their floats lie, seen with the axes of the codes: their pixels in rows where
    both have one order.
    """
    memory = codes.nhwc()
    turned = codes.layout != floats.layout and memory.c > 1 and memory.h * memory.w > 1
    if turned:
        assert floats.layout == "plain", (codes, floats)
        return memory, Planes(n=memory.n, h=memory.h, w=memory.w, c=memory.c)
    # Either may have a border of its own between its pixels.
    halo = floats.halo if floats.layout == "NHWC" else NO_HALO
    same = Nhwc(n=memory.n, h=memory.h, w=memory.w, c=memory.c, dtype="float32", halo=halo)
    rows, real = in_rows(memory, same)
    return rows, real


def binary(low: Lowering, node: Node, op: Binary) -> None:
    """A sum or a product of two tensors, the second maybe broadcast over the image."""
    a, b, y = (low.tensor(name).nhwc() for name in (*node.inputs, node.name))
    kind = _ARITHMETIC[op.function]
    mult = None
    if isinstance(op.finish, IntFinish):
        # Every pixel takes the same work, so rows may be as long as a thread's share should be.
        a, b, y = in_rows(a, b, y)
        mult = factors(kind, a, b, y)
    finish = finish_of(op.finish, mult)
    assert isinstance(finish, RequantizeFinish | ActivationFinish), "its factors are floats"
    kernel = BinaryKernel(kind=kind, a=a, b=b, y=y, finish=finish)
    low.call(node, built(kernel, low.kernels_of(node)))


def lookup(low: Lowering, node: Node, op: Lookup) -> None:
    """A table of 256 entries, one for each code."""
    x, y = in_rows(low.tensor(node.inputs[0]).nhwc(), low.tensor(node.name).nhwc())
    low.call(node, built(unary.LookupKernel(x=x, y=y, table=op.table.entries), low.mk))


def function(low: Lowering, node: Node, op: Map) -> None:
    """A function of floats, value by value."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    kernel = unary.MapKernel(x=x.nhwc(), y=y.nhwc(), function=op.function)
    low.call(node, built(kernel, low.kernels_of(node)))


def elements(low: Lowering, node: Node, op: Elements) -> None:
    """An operation on values of several types, broadcast to the result."""
    y = low.tensor(node.name)
    operands = [low.tensor(name) for name in node.inputs]
    shape, strides = merged(y.shape, [_spread(x.shape, len(y.shape)) for x in operands])
    xs = tuple(
        Spread(dtype=x.dtype, elements=x.elements, strides=own)
        for x, own in zip(operands, strides, strict=True)
    )
    kernel = ElementsKernel(function=op.function, shape=shape, xs=xs, dtype=y.dtype)
    low.call(node, built(kernel, low.mk))


def _spread(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """The strides of an operand that is broadcast to so many axes."""
    own = zip(shape, dense_strides(shape), strict=True)
    return (*[0] * (rank - len(shape)), *(0 if extent == 1 else step for extent, step in own))


def max_pool(low: Lowering, node: Node, op: MaxPool) -> None:
    """The largest value of each window."""
    x, y, window = low.tensor(node.inputs[0]), low.tensor(node.name), op.window
    kernel = pool.MaxPoolKernel(
        x=x.nhwc(),
        y=y.nhwc(),
        kernel=window.kernel,
        strides=window.strides,
        dilations=window.dilations,
        # Top and left: how far it goes on at the bottom and right, the extents of y say.
        pads=window.pads[:2],
    )
    low.call(node, built(kernel, low.mk))


def average_pool(low: Lowering, node: Node, op: AveragePool) -> None:
    """The mean of each window; what ONNX does not count at the edges does not count."""
    x, y = low.tensor(node.inputs[0]).nhwc(), low.tensor(node.name).nhwc()
    # A window counts the same columns in each row, so its taps are a product.
    counts = (
        window_counts(op.window, axis, *sizes, include_pad=op.count_include_pad)
        for axis, sizes in enumerate(((x.h, y.h), (x.w, y.w)))
    )
    _average(low, node, op.finish, op.window, np.outer(*counts))


def global_average_pool(low: Lowering, node: Node, op: GlobalAveragePool) -> None:
    """One window, as large as the image."""
    x = low.tensor(node.inputs[0]).nhwc()
    _average(low, node, op.finish, Window(kernel=(x.h, x.w)), np.array([[x.h * x.w]]))


def _average(
    low: Lowering,
    node: Node,
    finish: IntFinish | FloatFinish,
    window: Window,
    counts: NDArray[np.int64],
) -> None:
    """Args: counts: how many taps of each window count."""
    kernel = pool.AveragePoolKernel(
        x=low.tensor(node.inputs[0]).nhwc(),
        y=low.tensor(node.name).nhwc(),
        kernel=window.kernel,
        strides=window.strides,
        counts=counts,
        pads=window.pads[:2],
        clip=finish.limits,
    )
    low.call(node, built(kernel, low.kernels_of(node)))


def window_counts(
    window: Window, axis: int, extent: int, out: int, *, include_pad: bool = False
) -> NDArray[np.int64]:
    """How many taps of each window on one axis count, as ONNX's AveragePool says."""
    before, after = window.pads[axis], window.pads[axis + 2]
    low, high = (-before, extent + after) if include_pad else (0, extent)
    # The first tap of each window, counted from the image's edge: negative ones are in the
    # border.
    first = np.arange(out) * window.strides[axis] - before
    counts: NDArray[np.int64] = np.minimum(first + window.kernel[axis], high) - np.maximum(
        first, low
    )
    return counts

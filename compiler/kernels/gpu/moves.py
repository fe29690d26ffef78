"""Copies and the program's edge: a thread moves a value, or four that lie side by side."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import prod

import numpy as np

from edgekiln.compiler.ir.memory import NO_HALO, Nhwc, Planes
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.convert import DequantizeKernel, HalfAwayKernel, QuantizeKernel
from edgekiln.compiler.kernels.copy import CopyKernel
from edgekiln.compiler.kernels.copy_axes import Axis, merged
from edgekiln.compiler.kernels.gpu.grid import (
    WIDE,
    Place,
    each_place,
    fill_border,
)
from edgekiln.compiler.kernels.numbers import NumbersConstant
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import divmod_, let, store, unravel, when
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    cast,
    const,
    expression,
    float_const,
    load,
    splat,
)


@shared
def copy_on_threads(kernel: CopyKernel, mk: MicroKernel) -> Kernel:
    """Build the kernel that moves values, and fills what nothing is moved to."""
    axes = merged(kernel.shape, kernel.x_strides, kernel.y_strides)
    with KernelBuilder() as k:
        x = k.tensor(kernel.x.elements, kernel.x.dtype)
        numbers = kernel.numbers(k)
        y = k.tensor(kernel.y.elements, kernel.y.dtype)
        if kernel.fill is None:
            _move(k, kernel, mk, numbers, (x, y), axes)
        else:
            _move_or_fill(k, kernel, mk, numbers, (x, y), axes)
    return k.finish()


def _move(
    k: KernelBuilder, kernel: CopyKernel, mk: MicroKernel, numbers: NumbersConstant,
    buffers: tuple[Buffer, Buffer], axes: Sequence[Axis],
) -> None:  # fmt: skip
    """Each value that is moved has a thread, in the order of y's memory."""
    x, y = buffers
    extents = [extent for extent, _, _ in axes]
    count, *steps = axes[-1]
    jumps = [count, kernel.x_offset, kernel.y_offset, *(s for axis in axes[:-1] for s in axis[1:])]
    lanes = WIDE if steps == [1, 1] and all(jump % WIDE == 0 for jump in jumps) else 1
    extents[-1] //= lanes
    thread = k.threads(prod(extents))
    places = unravel(extents, thread)
    source, to = (
        sum(
            (place * (axis[side] * (lanes if axis is axes[-1] else 1))
             for place, axis in zip(places, axes, strict=True)),
            const(offset),
        )
        for side, offset in ((1, kernel.x_offset), (2, kernel.y_offset))
    )  # fmt: skip
    store(y, let(to), kernel.value(mk, numbers, load(x, let(source), lanes), lanes), lanes)
    # The first of several operands brings the border.
    if kernel.border:
        fill_border(kernel.y, lambda: numbers.zero, y, thread, prod(extents))


def _move_or_fill(
    k: KernelBuilder, kernel: CopyKernel, mk: MicroKernel, numbers: NumbersConstant,
    buffers: tuple[Buffer, Buffer], axes: Sequence[Axis],
) -> None:  # fmt: skip
    """Each value of y has a thread, which finds out whether something is moved there."""
    x, y = buffers
    for (_, _, outer), (extent, _, inner) in pairwise(axes):
        assert outer >= extent * inner, "of two places in y one is not in the other's axis"

    def element(at: Place) -> None:
        for lane in range(at.lanes):
            to = let(kernel.y.index(at.n, at.h, at.w, at.c + lane))
            rest, source = let(expression(to - kernel.y_offset)), const(kernel.x_offset)
            moved = [rest >= 0]
            for extent, x_step, y_step in axes:
                number, left = divmod_(rest, y_step)
                number, rest = let(number), let(left)
                moved.append(number < extent)
                source = source + number * x_step
            moved.append(rest == 0)
            with when(_all(moved)):
                store(y, to, kernel.value(mk, numbers, load(x, source), 1))
            with when(_not(_all(moved))):
                store(y, to, cast(numbers.float(1), kernel.y.dtype))

    each_place(k, kernel.y, lambda: numbers.zero, y, element)


def _all(conditions: Sequence[Expr]) -> Expr:
    from tvm import tirx

    every: Expr = tirx.all(*conditions)
    return every


def _not(condition: Expr) -> Expr:
    from tvm import tirx

    other: Expr = tirx.Not(condition)
    return other


@shared
def quantize_on_threads(kernel: QuantizeKernel | HalfAwayKernel, mk: MicroKernel) -> Kernel:
    """Build the kernel that makes codes of floats."""
    of_x, of_y = kernel.x, kernel.y
    planes = isinstance(of_x, Planes)
    with KernelBuilder() as k:
        x = k.tensor(of_x.elements, "float32")
        numbers = kernel.rounding.numbers(k)
        y = k.tensor(of_y.elements, of_y.dtype)

        def element(at: Place) -> None:
            # Channels that are planes in x lie far apart.
            width = 1 if planes else at.lanes
            for lane in range(0, at.lanes, width):
                value = load(x, of_x.index(at.n, at.h, at.w, at.c + lane), width)
                to = let(of_y.index(at.n, at.h, at.w, at.c + lane))
                store(y, to, kernel.rounding.codes(mk, numbers, value, width), width)

        each_place(k, of_y, lambda: numbers.zero, y, element)
    return k.finish()


@shared
def dequantize_on_threads(kernel: DequantizeKernel, mk: MicroKernel) -> Kernel:
    """Build the kernel that makes floats of codes."""
    of_x, of_y = kernel.x, kernel.y
    with KernelBuilder() as k:
        x = k.tensor(of_x.elements, of_x.dtype)
        scale = k.constant(np.array([of_x.scale], np.float32))
        zero = k.constant(np.array([of_x.zero_point], np.int32))
        y = k.tensor(of_y.elements, "float32")

        def element(at: Place) -> None:
            # Channels that are planes in y lie far apart.
            width = 1 if isinstance(of_y, Planes) else at.lanes
            for lane in range(0, at.lanes, width):
                c = let(at.c + lane)
                code = load(x, of_x.index(at.n, at.h, at.w, c), width)
                centred = mk.widen(code, width) - splat(load(zero, 0), width)
                value = cast(centred, "float32", width) * splat(load(scale, 0), width)
                store(y, let(of_y.index(at.n, at.h, at.w, c)), value, width)

        # Planes have no border; a thread has a pixel of the codes.
        pixels = of_y if isinstance(of_y, Nhwc) else replace(of_x, halo=NO_HALO)
        each_place(k, pixels, lambda: float_const(0.0), y, element)
    return k.finish()

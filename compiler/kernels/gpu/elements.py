"""Elementwise kernels and pools: a thread has a pixel's channel, or four of them."""

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.binary import BinaryKernel
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.gpu.grid import Place, each_place
from edgekiln.compiler.kernels.numbers import NumbersConstant
from edgekiln.compiler.kernels.pool import AveragePoolKernel, MaxPoolKernel
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import let, store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.compiler.kernels.unary import LookupKernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, load, splat


@shared
def binary_on_threads(kernel: BinaryKernel, mk: MicroKernel) -> Kernel:
    """Build the kernel of a sum, a product or the like."""
    of_a, of_b, of_y = kernel.a, kernel.b, kernel.y
    with KernelBuilder() as k:
        a, b = (k.tensor(side.elements, side.dtype) for side in (of_a, of_b))
        value, zero = kernel.values(k, mk)
        y = k.tensor(of_y.elements, of_y.dtype)

        def element(at: Place) -> None:
            left = load(a, of_a.index(at.n, at.h, at.w, at.c), at.lanes)
            store(y, _at(of_y, at), value(left, _broadcast(of_b, of_y, b, at), at.lanes), at.lanes)

        each_place(k, of_y, zero, y, element, [of_a, *([of_b] if of_b.c == of_y.c else [])])
    return k.finish()


def _broadcast(of_b: Nhwc, of_y: Nhwc, b: Buffer, at: Place) -> Expr:
    """The second operand's elements; an axis of extent 1 serves all of the result's."""
    n, h, w = (
        place if of_b_axis == of_y_axis else 0
        for place, of_b_axis, of_y_axis in (
            (at.n, of_b.n, of_y.n), (at.h, of_b.h, of_y.h), (at.w, of_b.w, of_y.w),
        )
    )  # fmt: skip
    if of_b.c == of_y.c:
        return load(b, of_b.index(n, h, w, at.c), at.lanes)
    return splat(load(b, of_b.index(n, h, w, 0)), at.lanes)


@shared
def lookup_on_threads(kernel: LookupKernel, mk: MicroKernel) -> Kernel:
    """Build the kernel of a table of codes."""
    of_x, of_y = kernel.x, kernel.y
    with KernelBuilder() as k:
        x = k.tensor(of_x.elements, of_x.dtype)
        table = k.constant(mk.pack_table(kernel.table))
        numbers = NumbersConstant(k, of_y)
        y = k.tensor(of_y.elements, of_y.dtype)

        def element(at: Place) -> None:
            # A thread looks up one entry after the other.
            for lane in range(at.lanes):
                code = load(x, of_x.index(at.n, at.h, at.w, at.c + lane))
                store(y, of_y.index(at.n, at.h, at.w, at.c + lane), mk.lookup(table, code, 1))

        each_place(k, of_y, lambda: numbers.zero, y, element)
    return k.finish()


@shared
def max_pool_on_threads(kernel: MaxPoolKernel, mk: MicroKernel) -> Kernel:
    """Build the kernel of the largest values in windows."""
    del mk
    of_y = kernel.y
    with KernelBuilder() as k:
        x = k.tensor(kernel.x.elements, kernel.x.dtype)
        numbers = NumbersConstant(k, of_y)
        y = k.tensor(of_y.elements, of_y.dtype)

        def element(at: Place) -> None:
            largest = kernel.maxima(x, at.n, at.h, at.w)
            store(y, _at(of_y, at), largest(at.c, at.lanes), at.lanes)

        each_place(k, of_y, lambda: numbers.zero, y, element, [kernel.x])
    return k.finish()


@shared
def average_pool_on_threads(kernel: AveragePoolKernel, mk: MicroKernel) -> Kernel:
    """Build the kernel of the means of windows, of whatever rounding."""
    of_x, of_y = kernel.x, kernel.y
    (step_h, step_w), (top, left) = kernel.strides, kernel.pads
    with KernelBuilder() as k:
        x = k.tensor(of_x.elements, of_x.dtype)
        mean, zero = kernel.mean(k, mk)
        y = k.tensor(of_y.elements, of_y.dtype)

        def element(at: Place) -> None:
            # The window may begin in the border.
            first = let(of_x.index(at.n, at.h * step_h - top, at.w * step_w - left, at.c))
            total = kernel.sum_of(mk, x, first, at.lanes)
            codes = mean(at.h * of_y.w + at.w)(total, at.lanes)
            store(y, _at(of_y, at), codes, at.lanes)

        each_place(k, of_y, zero, y, element, [of_x])
    return k.finish()


def _at(y: Nhwc, at: Place) -> Index:
    return let(y.index(at.n, at.h, at.w, at.c))

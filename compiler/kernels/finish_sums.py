"""What becomes of int32 sums whose zero points are found when the program runs.

    Σ (x - z)·(w - v) = Σ x·w' + e·Σ x - z·Σ (w - v)        w' = w - v - e

The first sum is another kernel's. `ir/dynamic_ops` says what the others are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.epilogue.floats import Bounds
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import (
    divmod_,
    for_vectors,
    let,
    loop,
    register,
    repeat,
    store,
    unravel,
)
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    cast,
    const,
    float_const,
    load,
    splat,
)

# Numbers of some channels, from the first one on, as a vector.
Values = Callable[[Index, int], Expr]


@dataclass(frozen=True, kw_only=True)
class Operand:
    """A further operand, which is found when the program runs.

    Args:
        elements, dtype: of its memory.
        batch: elements from one to the next on each axis of the batch.
        pixel, channel: elements from one to the next; 0 where all have one.
    """

    elements: int
    dtype: str = "int32"
    batch: tuple[int, ...] = ()
    pixel: int = 0
    channel: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaling:
    """How sums become floats: y · (scale · mult) + bias, clipped. One number a channel each."""

    mult: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    clip: tuple[float, float]

    @property
    def erased(self) -> "Scaling":
        """What stands for all with the same code."""
        low, high = (0.0 if np.isfinite(bound) else bound for bound in self.clip)
        bias = None if self.bias is None else np.zeros_like(self.bias)
        return Scaling(mult=np.zeros_like(self.mult), bias=bias, clip=(low, high))


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishSumsKernel:
    """y = sums + shift·(sums of rows) - zero point·(sums of columns), scaled or not.

    Args:
        sums: int32 × channels, without a border.
        y: int32, or float32 where there is a `scaling`.
        batch: axes of which n·h are; operands go their own ways along them.
        row_sums: an operand, where shifts are not 0.
        columns: an operand, or a number a channel.
        shifts: likewise; of an operand, which holds zero points, they are the negative.
    """

    sums: Nhwc
    y: Nhwc
    batch: tuple[int, ...] = ()
    row_sums: Operand | None = None
    columns: Operand | NDArray[np.int32]
    shifts: Operand | NDArray[np.int32]
    scaling: Scaling | None = None

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        columns, shifts = (
            each if isinstance(each, Operand) else np.zeros_like(each)
            for each in (self.columns, self.shifts)
        )
        scaling = self.scaling and self.scaling.erased
        return replace(
            self, sums=self.sums.unscaled, y=self.y.unscaled, columns=columns, shifts=shifts,
            scaling=scaling,
        )  # fmt: skip

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        with KernelBuilder() as k:
            row = _SumsRow(self, k, mk)
            y = k.tensor(self.y.elements, self.y.dtype)
            zero = float_const(0.0) if self.scaling else const(0)
            with loop(*k.items(self.y.n * self.y.h)) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(mk, y, self.y, n, h, zero)
                row.emit(y, item, (n, h))
        return k.finish()


@dataclass(frozen=True)
class _Source:
    """Where one of the numbers of a row of pixels comes from."""

    buffer: Buffer
    operand: Operand
    negative: bool = False

    def start(self, of: FinishSumsKernel, indices: tuple[Expr, ...], item: Expr) -> Index:
        """Where the first pixel's is."""
        steps = self.operand.batch
        if not of.batch:  # all pixels lie in a row
            return let(item * (of.y.w * self.operand.pixel))
        along = (i * step for i, step in zip(indices, steps, strict=True)) if steps else ()
        return let(sum(along, const(0)))

    def at_pixel(self, start: Index) -> Values:
        """Vectors of a pixel's channels; `start` is where its first one is."""
        if self.operand.channel:
            return lambda c, lanes: self._value(start + c, lanes)
        value = let(self._value(start, 1))
        return lambda c, lanes: splat(value, lanes)  # noqa: ARG005  # the same for all channels

    def _value(self, at: Index, lanes: int) -> Expr:
        value = cast(load(self.buffer, at, lanes), "int32", lanes)
        return splat(const(0), lanes) - value if self.negative else value


class _SumsRow:
    """Declares what the kernel reads, and emits a row of pixels."""

    def __init__(self, of: FinishSumsKernel, k: KernelBuilder, mk: MicroKernel) -> None:
        self.of, self.mk = of, mk
        self.sums = k.tensor(of.sums.elements, "int32")
        self.range = k.tensor(2, "float32")
        rows, columns, shifts = of.row_sums, of.columns, of.shifts
        # Operands first, in the operation's order, then constants.
        row_buffer = k.tensor(rows.elements, rows.dtype) if rows else None
        column_buffer, shift_buffer = (
            k.tensor(each.elements, each.dtype) if isinstance(each, Operand) else None
            for each in (columns, shifts)
        )
        self.columns = _source(k, columns, column_buffer)
        self.rows = self.shifts = None
        if rows and row_buffer is not None:
            self.rows = _Source(row_buffer, rows)
            self.shifts = _source(k, shifts, shift_buffer, negative=isinstance(shifts, Operand))
        if scaling := of.scaling:
            self.mult = k.constant(scaling.mult)
            self.bias = None if scaling.bias is None else k.constant(scaling.bias)
            self.bounds = Bounds(k, scaling.clip)

    def emit(self, y: Buffer, item: Expr, at: tuple[Expr, Expr]) -> None:
        of = self.of
        zero, scale = let(cast(load(self.range, 1), "int32")), let(load(self.range, 0))
        indices = unravel(of.batch, item) if of.batch else ()
        used = [each for each in (self.columns, self.rows, self.shifts) if each is not None]
        starts = [each.start(of, indices, item) for each in used]
        source, to = let(of.sums.index(*at, 0, 0)), let(of.y.index(*at, 0, 0))
        with repeat(of.y.w) as w:
            columns, *row = (
                each.at_pixel(let(start + w * each.operand.pixel))
                for each, start in zip(used, starts, strict=True)
            )

            def body(c: Index, lanes: int) -> None:
                total = load(self.sums, source + w * of.sums.c + c, lanes)
                total = total - splat(zero, lanes) * columns(c, lanes)
                if row:
                    rows, shifts = (values(c, lanes) for values in row)
                    total = total + shifts * rows
                store(y, to + w * of.y.pixel + c, self._finished(total, scale, c, lanes), lanes)

            for_vectors(of.y.c, self.mk.lanes, body)

    def _finished(self, total: Expr, scale: Expr, c: Index, lanes: int) -> Expr:
        if not self.of.scaling:
            return total
        # As ONNX says it: the product of the scales first, and each operation rounds.
        factor = splat(scale, lanes) * load(self.mult, c, lanes)
        value = cast(total, "float32", lanes)
        if self.bias is None:
            return self.bounds.clamp(value * factor, lanes)
        # A compiler that sees a product and a sum may round them once, and then it has other bits.
        product = self.mk.fma(value, factor, splat(float_const(0.0), lanes), lanes)
        value = product + load(self.bias, c, lanes)
        return self.bounds.clamp(value, lanes)


def _source(
    k: KernelBuilder, given: Operand | NDArray[np.int32], buffer: Buffer | None,
    *, negative: bool = False,
) -> _Source:  # fmt: skip
    """An operand, or a constant with one number a channel or one for all."""
    if isinstance(given, Operand):
        assert buffer is not None
        return _Source(buffer, given, negative)
    operand = Operand(elements=given.size, channel=int(given.size > 1))
    return _Source(k.constant(given), operand)


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnSumsKernel:
    """y = Σ over k of (b - zero point), for each column of each matrix.

    Args:
        k, n: rows and columns of a matrix; they lie one behind the other.
        dtype, origin: of b, and by how much its codes are larger than in the model.
        zeros: of the model's codes, one or one a column; or the operand they are.
    """

    matrices: int
    k: int
    n: int
    dtype: str
    origin: int
    zeros: Operand | NDArray[np.int32]

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        zeros = self.zeros if isinstance(self.zeros, Operand) else np.zeros_like(self.zeros)
        return replace(self, origin=0, zeros=zeros)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        with KernelBuilder() as k:
            b = k.tensor(self.matrices * self.k * self.n, self.dtype)
            if isinstance(self.zeros, Operand):
                zeros, count = k.tensor(self.zeros.elements, self.zeros.dtype), self.zeros.elements
            else:
                zeros, count = k.constant(self.zeros), self.zeros.size
            origin = k.constant(np.array([self.origin], np.int32))
            y = k.tensor(self.matrices * self.n, "int32")

            def zero_of(c: Index, lanes: int) -> Expr:
                if count == 1:
                    zero = cast(load(zeros, 0), "int32") + load(origin, 0)
                    return splat(zero * const(self.k), lanes)
                zero = cast(load(zeros, c, lanes), "int32", lanes) + splat(load(origin, 0), lanes)
                return zero * splat(const(self.k), lanes)

            with loop(*k.items(self.matrices)) as matrix:
                first, to = let(matrix * (self.k * self.n)), let(matrix * self.n)

                def column(c: Index, lanes: int) -> None:
                    total = register("int32", lanes)
                    store(total, 0, splat(const(0), lanes), lanes)
                    with loop(0, self.k) as row:
                        codes = cast(load(b, first + row * self.n + c, lanes), "int32", lanes)
                        store(total, 0, load(total, 0, lanes) + codes, lanes)
                    store(y, to + c, load(total, 0, lanes) - zero_of(c, lanes), lanes)

                for_vectors(self.n, mk.lanes, column)
        return k.finish()

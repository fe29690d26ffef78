"""Softmax of rows: of codes, in float32 between them, or of floats.

Of codes a few rows at a time: where one waits for the sum of its lanes or a quotient, the processor
goes on with the others. Results are those of ONNX's float operator up to the last bits: a code
differs, by one, only at a tie.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.fold import (
    fold,
    fold_rows,
    fold_vectors,
    lane,
    row_starts,
    rows_at_once,
)
from edgekiln.compiler.kernels.numbers import NumbersConstant, all_codes, erased_clip
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import for_vectors, let, loop, register, repeat, store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.compiler.kernels.vector_math import exp
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    cast,
    const,
    float_const,
    load,
    maximum,
    splat,
)

_Values = Callable[[Index, int], Expr]  # of a row: so many from there on

_POWERS_BYTES = 4096  # of the stack, where rows' powers wait for their sum
_MOST_EXPONENT = 80.0  # 1024 powers of e⁸⁰ are still a float32
_MOST_STEPS = 2.0**30  # results that are surely inside int32
LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftmaxKernel:
    """Computes y = exp(x) / Σ exp(x) over rows of `count` values that lie side by side.

    Args:
        clip: lowest and highest code of y; None of floats.
    """

    x: Nhwc
    y: Nhwc
    count: int
    clip: tuple[int, int] | None = None

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.x.elements // self.count

    @property
    def direct(self) -> bool:
        """Whether float32 holds the powers of all codes, and sums of them: then the largest value
        of a row, which keeps powers small and leaves with the quotient, need not be known.
        """
        return 255 * self.x.scale < _MOST_EXPONENT

    @property
    def bounded(self) -> bool:
        """Whether no result leaves int32 before clipping: no quotient is larger than 1."""
        return 1 / self.y.scale < _MOST_STEPS

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        if self.clip is None:
            return self
        x = replace(self.x.unscaled, scale=0.0 if self.direct else 1.0)
        y = self.y.unscaled if self.bounded else self.y
        return replace(self, x=x, y=y, clip=erased_clip(self.clip, y.dtype))

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        return (
            _of_floats(self, mk)
            if self.clip is None
            else _SoftmaxOfCodes(self, self.clip, mk).build()
        )


@dataclass(frozen=True)
class _SoftmaxOfCodes:
    """Emits the code that looks powers up in a table."""

    softmax: SoftmaxKernel
    clip: tuple[int, int]
    mk: MicroKernel

    def build(self) -> Kernel:
        """Build the kernel."""
        softmax, mk, count = self.softmax, self.mk, self.softmax.count
        most = _POWERS_BYTES // (4 * count)
        # As many rows as their powers have room on the stack.
        together = rows_at_once(mk, softmax.rows, count, most)
        # Exponents count up from the lowest code, or down from a row's largest one.
        step = softmax.x.scale if softmax.direct else -softmax.x.scale
        with KernelBuilder() as k:
            x = k.tensor(softmax.x.elements, softmax.x.dtype)
            # All powers that codes can ask for, in the form that the chip looks up.
            with np.errstate(over="ignore"):  # of entries that fill a register and no code asks for
                powers = np.array(mk.powers(np.exp(step)), np.float32)
            table = k.constant(powers)
            whole = np.float32(1 / softmax.y.scale)
            numbers = NumbersConstant(k, softmax.y, self.clip, (whole,), bounded=softmax.bounded)
            y = k.tensor(softmax.y.elements, softmax.y.dtype)
            begin, end = k.items(math.ceil(softmax.rows / together))
            with loop(begin, end) as item:
                starts = row_starts(item, softmax.rows, together, count)
                self._rows((x, table, y), numbers, starts)
        return k.finish()

    def _rows(
        self, buffers: tuple[Buffer, Buffer, Buffer], numbers: NumbersConstant, starts: list[Index]
    ) -> None:
        """Emit the rows that begin at `starts`."""
        x, table, y = buffers
        exponents = self._exponents(x, starts)
        powers = [register("float32", self.softmax.count) for _ in starts]
        totals = [self._sum(table, *row) for row in zip(exponents, powers, strict=True)]
        total = fold_rows(totals, operator.add)
        # One division for each row, all rows in one vector.
        factors = let(splat(numbers.float(0), len(starts)) / total)
        for row, at in enumerate(starts):
            self._quantize(numbers, powers[row], lane(factors, row, len(starts)), (y, at))

    def _exponents(self, x: Buffer, starts: list[Index]) -> list[_Values]:
        """What the table is asked for, row by row: codes from the lowest up, or from the largest of
        the row down.
        """
        mk, dtype = self.mk, self.softmax.x.dtype
        lowest, _ = all_codes(dtype)

        def codes(at: Index) -> _Values:
            return lambda i, lanes: load(x, at + i, lanes)

        def above(at: Index) -> _Values:
            def value(i: Index, lanes: int) -> Expr:
                code = mk.widen(load(x, at + i, lanes), lanes)
                return code - splat(const(lowest), lanes) if lowest else code

            return value

        def below(top: Expr, at: Index) -> _Values:
            return lambda i, lanes: splat(top, lanes) - mk.widen(load(x, at + i, lanes), lanes)

        if self.softmax.direct:
            return [above(at) for at in starts]
        count, least = self.softmax.count, cast(const(lowest), dtype)
        # The largest code of each row, all rows in one vector.
        tops = fold_rows(
            [fold_vectors(mk.byte_lanes, count, dtype, least, codes(at), _larger) for at in starts],
            _larger,
        )
        whole = let(cast(tops, "int32", len(starts)))
        return [below(let(lane(whole, i, len(starts))), at) for i, at in enumerate(starts)]

    def _sum(self, table: Buffer, exponents: _Values, powers: Buffer) -> tuple[Expr, int]:
        """Σ of a row's powers in some lanes; the powers themselves are kept."""
        mk = self.mk

        def power(i: Index, lanes: int) -> Expr:
            # Kept on the stack, for the quotient.
            value = let(mk.power(table, exponents(i, lanes), lanes))
            store(powers, i, value, lanes)
            return value

        zero = float_const(0.0)
        return fold_vectors(mk.lanes, self.softmax.count, "float32", zero, power, operator.add)

    def _quantize(
        self, numbers: NumbersConstant, powers: Buffer, factor: Expr, to: tuple[Buffer, Index]
    ) -> None:
        """Store the codes of a row's powers times `factor`."""
        factor, (y, at) = let(factor), to

        def quantize(i: Index, lanes: int) -> None:
            steps = load(powers, i, lanes) * splat(factor, lanes)
            store(y, at + i, numbers.codes(self.mk, steps, lanes), lanes)

        for_vectors(self.softmax.count, self.mk.lanes, quantize)


def _larger(a: Expr, b: Expr) -> Expr:
    """The larger one, in a variable. TVM's generator of code puts the value of a name that is
    bound to integers in its place, wherever that is used: of a row's halves, halved again, that
    would be thousands of terms in each address, and minutes.
    """
    value = maximum(a, b)
    dtype, _, count = str(value.ty).partition("x")
    lanes = int(count or 1)
    kept = register(dtype, lanes)
    store(kept, 0, value, lanes)
    return load(kept, 0, lanes)


def _of_floats(softmax: SoftmaxKernel, mk: MicroKernel) -> Kernel:
    """Build the kernel that computes exp(x - max) / Σ exp(x - max), row by row."""
    rows, count = softmax.rows, softmax.count
    with KernelBuilder() as k:
        x = k.tensor(rows * count, "float32")
        y = k.tensor(rows * count, "float32")
        begin, end = k.items(rows)
        with loop(begin, end) as row:
            _float_row(mk, count, (x, y), let(row * count))
    return k.finish()


def _float_row(mk: MicroKernel, count: int, buffers: tuple[Buffer, Buffer], at: Index) -> None:
    """Emit one row: its maximum, its powers and their sum, and then the quotients."""
    x, y = buffers

    def value(i: Index, lanes: int) -> Expr:
        return load(x, at + i, lanes)

    # Powers of differences from the largest value are at most 1.
    top = let(fold(mk.lanes, count, "float32", float_const(LOWEST), value, maximum))

    def power(i: Index, lanes: int) -> Expr:
        result = let(exp(mk, value(i, lanes) - splat(top, lanes), lanes))
        store(y, at + i, result, lanes)
        return result

    total = fold(mk.lanes, count, "float32", float_const(0.0), power, operator.add)
    # One division a row, then products.
    factor = let(float_const(1.0) / total)
    done = 0  # each power once: overlapping vectors would scale some twice
    for lanes in (*mk.lanes, 1):
        times = (count - done) // lanes
        if not times:
            continue
        with repeat(times) as i:
            here = let(at + done + i * lanes)
            store(y, here, load(y, here, lanes) * splat(factor, lanes), lanes)
        done += times * lanes

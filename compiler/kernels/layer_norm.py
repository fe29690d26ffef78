"""Softmax and layer normalization: codes in, codes out, float32 in between.

A few rows at a time: where one waits for the sum of its lanes, a quotient or a root, the processor
goes on with the others. Numbers of one layer lie in memory, so that layers of one shape share one
function. Results are those of ONNX's float operators up to the last bits: a code differs, by one,
only at a tie.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.fold import (
    fold_dots,
    fold_lanes,
    fold_vectors,
    lane,
    ones,
    rows_at_once,
    signed,
)  # fmt: skip
from edgekiln.compiler.kernels.numbers import Numbers, all_codes, erased_clip
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import (
    Buffer,
    Index,
    KernelBuilder,
    bind,
    cast,
    const,
    float_const,
    for_vectors,
    load,
    loop,
    maximum,
    minimum,
    register,
    store,
)  # fmt: skip
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import Expr, MicroKernel, splat

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Values = Callable[[Index, int], Expr]  # of a row: so many from there on

_POWERS_BYTES = 4096  # of the stack, where rows' powers wait for their sum
_MOST_EXPONENT = 80.0  # 1024 powers of e⁸⁰ are still a float32
_MOST_STEPS = 2.0**30  # results that are surely inside int32
_LEAST_VARIANCE = 2.0**-60  # whose root has a reciprocal


def _erased(softmax: "Softmax") -> "Softmax":
    x = replace(softmax.x.unscaled, scale=0.0 if softmax.direct else 1.0)
    y = softmax.y.unscaled if softmax.bounded else softmax.y
    return replace(softmax, x=x, y=y, clip=erased_clip(softmax.clip, y.dtype))


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax:
    """y = exp(x) / Σ exp(x) over rows of `count` values that lie side by side."""

    x: Nhwc
    y: Nhwc
    count: int
    clip: tuple[int, int]

    @property
    def direct(self) -> bool:
        """Whether float32 holds the powers of all codes, and sums of them: then the largest value
        of a row, which keeps powers small and leaves with the quotient, need not be known.
        """
        return 255 * self.x.scale < _MOST_EXPONENT

    @property
    def bounded(self) -> bool:
        return 1 / self.y.scale < _MOST_STEPS

    @shared(_erased)
    def build(self, mk: MicroKernel) -> Kernel:
        rows = self.x.elements // self.count
        together = rows_at_once(mk, rows, self.count, _POWERS_BYTES // (4 * self.count))
        step = self.x.scale if self.direct else -self.x.scale
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            table = k.constant(np.array(mk.powers(np.exp(step)), np.float32))
            whole = np.float32(1 / self.y.scale)
            numbers = Numbers(k, self.y, self.clip, (whole,), bounded=self.bounded)
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(math.ceil(rows / together))
            with loop(begin, end) as item:
                starts = _starts(item, rows, together, self.count)
                self._rows(mk, (x, table, y), numbers, starts)
        return k.finish()

    def _rows(
        self, mk: MicroKernel, buffers: tuple[Buffer, ...], numbers: Numbers, starts: list[Index]
    ) -> None:
        x, table, y = buffers
        exponents = self._exponents(mk, x, starts)
        powers = [register("float32", self.count) for _ in starts]
        totals = [
            self._sum(mk, table, *row) for row in zip(exponents, powers, strict=True)
        ]  # fmt: skip
        total = _across(totals, operator.add)
        factors = bind(splat(numbers.float(0), len(starts)) / total)
        for row, at in enumerate(starts):
            self._quantize(mk, numbers, powers[row], lane(factors, row, len(starts)), (y, at))

    def _exponents(self, mk: MicroKernel, x: Buffer, starts: list[Index]) -> list[_Values]:
        """What `table` is asked for, row by row: codes from the lowest up, or from the largest of
        the row down.
        """
        lowest, _ = all_codes(self.x.dtype)

        def codes(at: Index) -> _Values:
            return lambda i, lanes: load(x, at + i, lanes)

        def above(at: Index) -> _Values:
            def value(i: Index, lanes: int) -> Expr:
                code = mk.widen(load(x, at + i, lanes), lanes)
                return code - splat(const(lowest), lanes) if lowest else code

            return value

        def below(top: Expr, at: Index) -> _Values:
            return lambda i, lanes: splat(top, lanes) - mk.widen(load(x, at + i, lanes), lanes)

        if self.direct:
            return [above(at) for at in starts]
        least = cast(const(lowest), self.x.dtype)
        tops = _across(
            [
                fold_vectors(mk.byte_lanes, self.count, self.x.dtype, least, codes(at), maximum)
                for at in starts
            ],
            maximum,
        )
        whole = bind(cast(tops, "int32", len(starts)))
        return [below(bind(lane(whole, i, len(starts))), at) for i, at in enumerate(starts)]

    def _sum(
        self, mk: MicroKernel, table: Buffer, exponents: _Values, powers: Buffer
    ) -> tuple[Expr, int]:
        """Σ of a row's powers in some lanes; the powers themselves are kept."""

        def power(i: Index, lanes: int) -> Expr:
            value = bind(mk.power(table, exponents(i, lanes), lanes))
            store(powers, i, value, lanes)
            return value

        return fold_vectors(mk.lanes, self.count, "float32", float_const(0.0), power, operator.add)

    def _quantize(
        self, mk: MicroKernel, numbers: Numbers, powers: Buffer, factor: Expr,
        to: tuple[Buffer, Index],
    ) -> None:  # fmt: skip
        factor, (y, at) = bind(factor), to

        def quantize(i: Index, lanes: int) -> None:
            steps = load(powers, i, lanes) * splat(factor, lanes)
            store(y, at + i, numbers.codes(mk, steps, lanes), lanes)

        for_vectors(self.count, mk.lanes, quantize)


def _erased_norm(norm: "LayerNorm") -> "LayerNorm":
    return replace(
        norm,
        x=norm.x.unscaled,
        y=norm.y.unscaled,
        gamma=np.zeros_like(norm.gamma),
        beta=np.full_like(norm.beta, 0.0 if norm.bounded else _MOST_STEPS),
        epsilon=1.0,
        clip=erased_clip(norm.clip, norm.y.dtype),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerNorm:
    """y = (x - mean) / √(variance + epsilon) · gamma + beta over rows of len(gamma) values.

    Sums of codes and of their squares are exact: with m = round(mean) and d = x - m, integers too,

        Σ d² = Σ x² - m·(Σ x + Σ d)      mean - m = Σ d / n      n·variance = Σ d² - (Σ d)² / n

    and the last subtraction cancels little, for |Σ d| ≤ n / 2 and |Σ d| ≤ Σ d².

    Args:
        gamma: of at most 2¹⁷ channels, so that Σ d² is an int32.
    """

    x: Nhwc
    y: Nhwc
    gamma: "NDArray[np.float32]"
    beta: "NDArray[np.float32]"
    epsilon: float
    clip: tuple[int, int]

    @property
    def bounded(self) -> bool:
        """Whether no result leaves int32 before clipping: |x - mean| ≤ √n · deviation."""
        most = math.sqrt(self.gamma.size) * np.abs(self.gamma).max() + np.abs(self.beta).max()
        deviates = self.epsilon / self.x.scale**2 > _LEAST_VARIANCE
        return deviates and bool(most / self.y.scale < _MOST_STEPS)

    @shared(_erased_norm)
    def build(self, mk: MicroKernel) -> Kernel:
        count = self.gamma.size
        rows = self.x.elements // count
        together = rows_at_once(mk, rows, count)
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            of_y = np.float64(self.y.scale)
            gamma = k.constant((self.gamma / of_y).astype(np.float32))
            beta = k.constant((self.beta / of_y).astype(np.float32))
            # In units of x's step: the zero point leaves with the mean.
            small = np.float32(self.epsilon / self.x.scale**2)
            floats = (small, np.float32(1 / count))
            numbers = Numbers(k, self.y, self.clip, floats, bounded=self.bounded)
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(math.ceil(rows / together))
            with loop(begin, end) as item:
                starts = _starts(item, rows, together, count)
                self._rows(mk, (x, gamma, beta, y), numbers, starts)
        return k.finish()

    def _rows(
        self, mk: MicroKernel, buffers: tuple[Buffer, ...], numbers: Numbers, starts: list[Index]
    ) -> None:
        x, gamma, beta, y = buffers
        moments = self._moments(mk, x, numbers, starts)
        for row, at in enumerate(starts):
            own = [bind(lane(moment, row, len(starts))) for moment in moments]
            self._normalize(mk, numbers, (x, gamma, beta, y), at, own)

    def _moments(
        self, mk: MicroKernel, x: Buffer, numbers: Numbers, starts: list[Index]
    ) -> tuple[Expr, Expr, Expr]:
        """Of each row round(mean), 1 / deviation, and (round(mean) - mean) / deviation."""
        from tvm.script.ir_builder import tirx as T

        n, count = len(starts), self.gamma.size
        factors = (ones, partial(signed, mk))
        found = [fold_dots(mk, x, at, count, factors) for at in starts]
        total, squares = (
            bind(fold_lanes([sums[i] for sums, _ in found], found[0][1], operator.add))
            for i in range(len(factors))
        )
        if mk.activation == "uint8":  # so far Σ x·(x - 128)
            squares = squares + total * splat(const(128), n)
        share, zero = splat(numbers.float(1), n), splat(float_const(0.0), n)
        middle = bind(mk.round_to_int(cast(total, "float32", n) * share, n))
        rest = bind(total - middle * splat(const(count), n))
        spread = cast(squares - middle * (total + rest), "float32", n)
        rest = bind(cast(rest, "float32", n))
        below = bind(zero - rest * share)
        variance = mk.fma(rest, below, spread, n) * share
        one = splat(float_const(1.0), n)
        inverse = bind(one / T.sqrt(variance + splat(numbers.float(0), n)))
        return middle, inverse, bind(below * inverse)

    def _normalize(
        self, mk: MicroKernel, numbers: Numbers, buffers: tuple[Buffer, ...], at: Index,
        moments: list[Expr],
    ) -> None:  # fmt: skip
        """One row, of which `moments` are known."""
        x, gamma, beta, y = buffers
        middle, inverse, offset = moments

        def normalize(i: Index, lanes: int) -> None:
            whole = mk.widen(load(x, at + i, lanes), lanes) - splat(middle, lanes)
            scale, start = splat(inverse, lanes), splat(offset, lanes)
            normal = mk.fma(cast(whole, "float32", lanes), scale, start, lanes)
            steps = mk.fma(normal, load(gamma, i, lanes), load(beta, i, lanes), lanes)
            store(y, at + i, numbers.codes(mk, steps, lanes), lanes)

        for_vectors(self.gamma.size, mk.lanes, normalize)


def _starts(item: Index, rows: int, together: int, count: int) -> list[Index]:
    """Where the rows of an item begin; the last item's overlap the one before."""
    first = bind(minimum(item * together, const(rows - together)))
    return [bind((first + row) * count) for row in range(together)]


def _across(rows: Sequence[tuple[Expr, int]], combine: Callable[[Expr, Expr], Expr]) -> Expr:
    """What is left of each row, in one lane each."""
    return bind(fold_lanes([vector for vector, _ in rows], rows[0][1], combine))

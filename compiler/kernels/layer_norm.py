"""Layer normalization of rows: of codes, in float32 between them, or of floats.

Of codes a few rows at a time: where one waits for the sum of its lanes, a quotient or a root, the
processor goes on with the others. Numbers of one layer lie in memory, so that layers of one shape
share one function. Results are those of ONNX's float operator up to the last bits: a code differs,
by one, only at a tie.
"""

import math
import operator
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.function import Function
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.fold import (
    fold,
    fold_dots,
    fold_lanes,
    lane,
    ones,
    row_starts,
    rows_at_once,
    signed,
)
from edgekiln.compiler.kernels.function import apply
from edgekiln.compiler.kernels.numbers import NumbersConstant, erased_clip
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import for_vectors, let, loop, store
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
    square_root,
)

_MOST_STEPS = 2.0**30  # results that are surely inside int32
_LEAST_VARIANCE = 2.0**-60  # whose root has a reciprocal

_Buffers = tuple[Buffer, Buffer, Buffer, Buffer]  # x, gamma, beta and y


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerNormKernel:
    """Computes y = function((x - mean) / √(variance + epsilon) · gamma + beta) over rows of
    len(gamma) values.

    Args:
        gamma: of codes of at most 2¹⁷ channels, so that Σ d² is an int32 (see `_OfCodes`).
        clip: lowest and highest code of y; None of floats.
        function: of floats alone.
    """

    x: Nhwc
    y: Nhwc
    gamma: NDArray[np.float32]
    beta: NDArray[np.float32]
    epsilon: float
    clip: tuple[int, int] | None = None
    function: Function = ()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.x.elements // self.gamma.size

    @property
    def bounded(self) -> bool:
        """Whether no result leaves int32 before clipping: |x - mean| ≤ √n · deviation."""
        most = math.sqrt(self.gamma.size) * np.abs(self.gamma).max() + np.abs(self.beta).max()
        deviates = self.epsilon / self.x.scale**2 > _LEAST_VARIANCE
        return deviates and bool(most / self.y.scale < _MOST_STEPS)

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        gamma, beta = np.zeros_like(self.gamma), np.zeros_like(self.beta)
        if self.clip is None:
            return replace(self, gamma=gamma, beta=beta)
        return replace(
            self,
            x=self.x.unscaled,
            y=self.y.unscaled,
            gamma=gamma,
            beta=beta if self.bounded else np.full_like(beta, _MOST_STEPS),
            epsilon=1.0,
            clip=erased_clip(self.clip, self.y.dtype),
        )

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        return (
            _of_floats(self, mk)
            if self.clip is None
            else _LayerNormOfCodes(self, self.clip, mk).build()
        )


@dataclass(frozen=True)
class _LayerNormOfCodes:
    """Emits the code for codes.

    Sums of codes and of their squares are exact: with m = round(mean) and d = x - m, integers too,

        Σ d² = Σ x² - m·(Σ x + Σ d)      mean - m = Σ d / n      n·variance = Σ d² - (Σ d)² / n

    and the last subtraction cancels little, for |Σ d| ≤ n / 2 and |Σ d| ≤ Σ d².
    """

    norm: LayerNormKernel
    clip: tuple[int, int]
    mk: MicroKernel

    def build(self) -> Kernel:
        """Build the kernel."""
        norm, count = self.norm, self.norm.gamma.size
        together = rows_at_once(self.mk, norm.rows, count)
        with KernelBuilder() as k:
            x = k.tensor(norm.x.elements, norm.x.dtype)
            # Results are wanted in steps of y.
            of_y = np.float64(norm.y.scale)
            gamma = k.constant((norm.gamma / of_y).astype(np.float32))
            beta = k.constant((norm.beta / of_y).astype(np.float32))
            # In units of x's step: the zero point leaves with the mean.
            small = np.float32(norm.epsilon / norm.x.scale**2)
            floats = (small, np.float32(1 / count))
            numbers = NumbersConstant(k, norm.y, self.clip, floats, bounded=norm.bounded)
            y = k.tensor(norm.y.elements, norm.y.dtype)
            begin, end = k.items(math.ceil(norm.rows / together))
            with loop(begin, end) as item:
                starts = row_starts(item, norm.rows, together, count)
                self._rows((x, gamma, beta, y), numbers, starts)
        return k.finish()

    def _rows(self, buffers: _Buffers, numbers: NumbersConstant, starts: list[Index]) -> None:
        """Emit the rows that begin at `starts`."""
        x, gamma, beta, y = buffers
        moments = self._moments(x, numbers, starts)
        for row, at in enumerate(starts):
            own = [let(lane(moment, row, len(starts))) for moment in moments]
            self._normalize(numbers, (x, gamma, beta, y), at, own)

    def _moments(
        self, x: Buffer, numbers: NumbersConstant, starts: list[Index]
    ) -> tuple[Expr, Expr, Expr]:
        """Return round(mean), 1 / deviation and (round(mean) - mean) / deviation of each row."""
        mk, n, count = self.mk, len(starts), self.norm.gamma.size
        # Sums of codes and of squares in one pass, by dot products.
        factors = (ones, partial(signed, mk))
        found = [fold_dots(mk, x, at, count, factors) for at in starts]
        total, squares = (
            let(fold_lanes([sums[i] for sums, _ in found], found[0][1], operator.add))
            for i in range(len(factors))
        )
        if mk.activation == "uint8":  # so far Σ x·(x - 128)
            squares = squares + total * splat(const(128), n)
        share, zero = splat(numbers.float(1), n), splat(float_const(0.0), n)
        # round(mean): from here on everything is small, and exact in integers.
        middle = let(mk.round_to_int(cast(total, "float32", n) * share, n))
        # Σ d, then Σ d², still int32.
        rest = let(total - middle * splat(const(count), n))
        spread = cast(squares - middle * (total + rest), "float32", n)
        rest = let(cast(rest, "float32", n))
        # -(Σ d) / n: how far the rounded mean is off.
        below = let(zero - rest * share)
        # Σ d² - (Σ d)² / n, rounded once, over n.
        variance = mk.fma(rest, below, spread, n) * share
        one = splat(float_const(1.0), n)
        inverse = let(one / square_root(variance + splat(numbers.float(0), n)))
        return middle, inverse, let(below * inverse)

    def _normalize(
        self, numbers: NumbersConstant, buffers: _Buffers, at: Index,
        moments: list[Expr],
    ) -> None:  # fmt: skip
        """Store the results of one row, of which `moments` are known."""
        mk, (x, gamma, beta, y) = self.mk, buffers
        middle, inverse, offset = moments

        def normalize(i: Index, lanes: int) -> None:
            whole = mk.widen(load(x, at + i, lanes), lanes) - splat(middle, lanes)
            scale, start = splat(inverse, lanes), splat(offset, lanes)
            # (x - mean) / deviation, the mean's rest being in `start`.
            normal = mk.fma(cast(whole, "float32", lanes), scale, start, lanes)
            steps = mk.fma(normal, load(gamma, i, lanes), load(beta, i, lanes), lanes)
            store(y, at + i, numbers.codes(mk, steps, lanes), lanes)

        for_vectors(self.norm.gamma.size, mk.lanes, normalize)


def _of_floats(norm: LayerNormKernel, mk: MicroKernel) -> Kernel:
    """Build the kernel that computes of each row the mean, the variance, and the results."""
    rows, count = norm.rows, norm.gamma.size
    with KernelBuilder() as k:
        x = k.tensor(rows * count, "float32")
        gamma, beta = k.constant(norm.gamma), k.constant(norm.beta)
        y = k.tensor(rows * count, "float32")
        begin, end = k.items(rows)
        with loop(begin, end) as row:
            _float_row(norm, mk, (x, gamma, beta, y), let(row * count))
    return k.finish()


def _float_row(norm: LayerNormKernel, mk: MicroKernel, buffers: _Buffers, at: Index) -> None:
    """Emit one row."""
    x, gamma, beta, y = buffers
    count = norm.gamma.size
    share = float_const(1 / count)

    def value(i: Index, lanes: int) -> Expr:
        return load(x, at + i, lanes)

    # First the mean, for the variance about it loses no bits.
    mean = let(fold(mk.lanes, count, "float32", float_const(0.0), value, operator.add) * share)

    def centred(i: Index, lanes: int) -> Expr:
        return value(i, lanes) - splat(mean, lanes)

    def square(i: Index, lanes: int) -> Expr:
        # Used twice, computed once.
        difference = let(centred(i, lanes))
        return difference * difference

    variance = fold(mk.lanes, count, "float32", float_const(0.0), square, operator.add) * share
    inverse = let(float_const(1.0) / square_root(variance + float_const(norm.epsilon)))

    def normalize(i: Index, lanes: int) -> None:
        scaled = centred(i, lanes) * splat(inverse, lanes)
        result = mk.fma(scaled, load(gamma, i, lanes), load(beta, i, lanes), lanes)
        store(y, at + i, apply(mk, norm.function, result, lanes), lanes)

    for_vectors(count, mk.lanes, normalize)

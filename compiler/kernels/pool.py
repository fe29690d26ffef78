"""Pools: maxima of codes or floats, and averages, which are scaled sums."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.border import assert_covered, fill_border
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.numbers import NumbersConstant
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import divmod_, for_vectors, let, loop, register, repeat, store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    cast,
    const,
    load,
    maximum,
    minimum,
    splat,
)

# Taps of a window beyond are visited in a loop: code for each of them would not end.
_MOST_UNROLLED = 81
# Sums of so many codes stay inside 16 bits: half the instructions, on any chip with vectors.
_MOST_IN_WORDS = 256
# The type of such sums, by that of the codes.
_WORDS = {"uint8": "uint16", "int8": "int16"}
# Codes of y from the sum of a window's codes, with so many lanes.
OfSum = Callable[[Expr, int], Expr]


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPoolKernel:
    """The largest value in each window; x and y have the same quantization.

    A tap outside the image is moved to the window's nearest tap inside: what is seen twice changes
    no maximum, and the halo, which holds zeros, is never looked at.
    """

    x: Nhwc
    y: Nhwc
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        return replace(self, x=self.x.unscaled, y=self.y.unscaled)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            numbers = NumbersConstant(k, self.y)
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.y.n * self.y.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(mk, y, self.y, n, h, numbers.zero)
                with loop(0, self.y.w) as w:
                    self._pixel(mk, (x, y), n, h, w)
        return k.finish()

    def _pixel(
        self, mk: MicroKernel, buffers: tuple[Buffer, Buffer], n: Index, h: Index, w: Index
    ) -> None:
        """Store the maxima of one pixel's channels."""
        x, y = buffers
        largest = self.maxima(x, n, h, w)
        at = let(self.y.index(n, h, w, 0))
        for_vectors(
            self.y.c, mk.byte_lanes, lambda c, lanes: store(y, at + c, largest(c, lanes), lanes)
        )

    def maxima(self, x: Buffer, n: Index, h: Index, w: Index) -> Callable[[Index, int], Expr]:
        """The largest values of a window, for so many channels from one on."""
        if self.kernel[0] * self.kernel[1] > _MOST_UNROLLED:
            return lambda c, lanes: self._max_of_many(x, n, (h, w), c, lanes)
        # Where the taps are is computed once for all channels.
        taps = self._taps(n, h, w)
        return lambda c, lanes: self._max(x, taps, c, lanes)

    def _taps(self, n: Index, h: Index, w: Index) -> list[Index]:
        """Where the taps of a result are in x."""
        rows = self._axis(h, 0, self.x.h)
        columns = self._axis(w, 1, self.x.w)
        return [let(self.x.index(n, row, column, 0)) for row in rows for column in columns]

    def _axis(self, out: Index, axis: int, extent: int) -> list[Index]:
        """Positions of the taps on one axis. One outside is replaced by the nearest inside."""
        first, low, high = self._inside(out, axis, extent)
        step = self.dilations[axis]
        return [
            let(first + minimum(maximum(const(tap), low), high) * step)
            for tap in range(self.kernel[axis])
        ]

    def _inside(self, out: Index, axis: int, extent: int) -> tuple[Index, Expr, Expr]:
        """Where a window begins on one axis; the number of its first tap inside, and its last."""
        step, count = self.dilations[axis], self.kernel[axis]
        first = let(out * self.strides[axis] - self.pads[axis])
        low, _ = divmod_(maximum(const(0), -first) + (step - 1), step)
        high, _ = divmod_(const(extent - 1) - first, step)
        low, high = let(low), let(minimum(high, const(count - 1)))
        return first, low, high

    def _max_of_many(
        self, x: Buffer, n: Index, out: tuple[Index, Index], c: Index, lanes: int
    ) -> Expr:
        """The largest of the taps inside, in loops over them."""
        (top, low, high), (left, first, last) = (
            self._inside(at, axis, extent)
            for axis, (at, extent) in enumerate(zip(out, (self.x.h, self.x.w), strict=True))
        )
        best = register(self.x.dtype, lanes)

        def tap(row: Expr, column: Expr) -> Expr:
            at = (top + row * self.dilations[0], left + column * self.dilations[1])
            return load(x, self.x.index(n, *at, 0) + c, lanes)

        store(best, 0, tap(low, first), lanes)
        with loop(low, high + 1) as row, loop(first, last + 1) as column:
            store(best, 0, maximum(load(best, 0, lanes), tap(row, column)), lanes)
        return load(best, 0, lanes)

    def _max(self, x: Buffer, taps: list[Index], c: Index, lanes: int) -> Expr:
        """The largest of the taps, for `lanes` channels from `c` on."""
        # A maximum of codes is the code of the maximum: nothing is requantized.
        best = load(x, taps[0] + c, lanes)
        for tap in taps[1:]:
            best = maximum(best, load(x, tap + c, lanes))
        return best


@dataclass(frozen=True, kw_only=True, eq=False)
class AveragePoolKernel:
    """Computes y = Σ (x - zero point) · s_x / (s_y · count), over windows that x's halo covers.

    The halo holds the zero point, so padding adds nothing to a sum; whether it counts is `counts`.

    Args:
        counts: (OH, OW), by what each sum is divided.
    """

    x: Nhwc
    y: Nhwc
    kernel: tuple[int, int]
    strides: tuple[int, int]
    counts: NDArray[np.int64]
    pads: tuple[int, int] = (0, 0)
    clip: tuple[float, float] = (0, 255)

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        counts = np.where(self.counts == self.counts.flat[0], 1, 2)  # all the same or not
        return replace(self, x=self.x.unscaled, y=self.y.unscaled, counts=counts, clip=(0, 0))

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        assert_covered(self.x, (self.y.h, self.y.w), self.kernel, self.strides, self.pads)
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            mean, zero = self.mean(k, mk)
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.y.n * self.y.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(mk, y, self.y, n, h, zero())
                with loop(0, self.y.w) as w:
                    self._pixel(mk, mean(h * self.y.w + w), (x, y), (n, h, w))
        return k.finish()

    def mean(
        self, k: KernelBuilder, mk: MicroKernel
    ) -> tuple[Callable[[Index], OfSum], Callable[[], Expr]]:
        """What the sums of each window become, and the zero of y's border."""
        mult = self._factors().reshape(-1)
        # Windows that padding cuts have factors of their own.
        mults = k.constant(mult[:1] if self._uniform else mult)
        # The zero point leaves with the sum: every tap of the window, border included, has it.
        zeros = self.kernel[0] * self.kernel[1] * self.x.zero_point
        numbers = NumbersConstant(k, self.y, self.clip, ints=(zeros,))
        dtype = mk.accumulator

        def of(window: Index) -> OfSum:
            factor = load(mults, 0 if self._uniform else window)

            def codes(total: Expr, lanes: int) -> Expr:
                total = total - splat(cast(numbers.int(0), dtype), lanes)
                return numbers.codes(
                    mk, cast(total, "float32", lanes) * splat(factor, lanes), lanes
                )

            return codes

        return of, lambda: numbers.zero

    @property
    def _uniform(self) -> bool:
        """Whether all windows count as many taps."""
        return bool((self.counts == self.counts.flat[0]).all())

    def _factors(self) -> NDArray[np.float32]:
        """s_x over s_y times the count, each rounded to float32. Of equal scales one rounding is
        left: sums that lie in the middle between two codes then stay there for nearly every count.
        """
        counts = self.counts.astype(np.float32)
        if self.x.scale == self.y.scale:
            return np.float32(1) / counts
        factors: NDArray[np.float32] = np.float32(self.x.scale) / (
            np.float32(self.y.scale) * counts
        )
        return factors

    def _pixel(
        self, mk: MicroKernel, mean: OfSum, buffers: tuple[Buffer, Buffer],
        at: tuple[Index, Index, Index],
    ) -> None:  # fmt: skip
        """Store what `mean` makes of the sums of one window, channel by channel."""
        (x, y), (n, h, w) = buffers, at
        sh, sw = self.strides
        # The window may begin in the halo.
        first = let(self.x.index(n, h * sh - self.pads[0], w * sw - self.pads[1], 0))
        target = let(self.y.index(n, h, w, 0))

        def body(c: Index, lanes: int) -> None:
            store(y, target + c, mean(self.sum_of(mk, x, first + c, lanes), lanes), lanes)

        for_vectors(self.y.c, mk.lanes, body)

    def sum_of(self, mk: MicroKernel, x: Buffer, first: Index, lanes: int) -> Expr:
        """The sum of the window whose first element is at `first`, for `lanes` channels."""
        rows, columns = self._taps

        def add(sums: Buffer, kh: Index, widened: Callable[[Expr], Expr]) -> None:
            with loop(0, columns) as kw:
                codes = load(x, first + kh * self.x.row + kw * self.x.pixel, lanes)
                store(sums, 0, load(sums, 0, lanes) + widened(codes), lanes)

        # Sums stay in a register over the whole window.
        total = _zeros(mk.accumulator, lanes)
        words = _WORDS.get(self.x.dtype) if columns <= _MOST_IN_WORDS else None
        with repeat(rows) as kh:
            # A row is summed in words where its codes have some, and the rows in int32.
            if words is None:
                add(total, kh, lambda codes: mk.widen(codes, lanes))
            else:
                row = _zeros(words, lanes)
                add(row, kh, lambda codes: cast(codes, words, lanes))
                wide = cast(load(row, 0, lanes), mk.accumulator, lanes)
                store(total, 0, load(total, 0, lanes) + wide, lanes)
        return load(total, 0, lanes)

    @property
    def _taps(self) -> tuple[int, int]:
        """Rows and columns of the window. Those of a small image that it covers are one row."""
        rows, columns = self.kernel
        # No pixels lie between the rows of the window.
        dense = self.x.row == columns * self.x.pixel
        return (1, rows * columns) if dense and rows * columns <= _MOST_IN_WORDS else self.kernel


def _zeros(dtype: str, lanes: int) -> Buffer:
    """A vector of zeros in a register, to add to."""
    sums = register(dtype, lanes)
    store(sums, 0, splat(cast(const(0), dtype), lanes), lanes)
    return sums

"""Moves: requantize, transpose, pad, slice, concatenate, reorder; one kernel over strides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.copy_axes import Axis, CopyWalk, are_planes, merged
from edgekiln.compiler.kernels.copy_plan import CopyPlan
from edgekiln.compiler.kernels.epilogue.scales import ratio
from edgekiln.compiler.kernels.numbers import NumbersConstant, all_codes
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.squares import Squares
from edgekiln.compiler.kernels.tir import (
    clamp,
    divmod_,
    for_vectors,
    let,
    loop,
    store,
    when,
)
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, cast, const, load, shuffle, splat

# What is done at a place: from where in x, to where in y.
_Body = Callable[[Index, Index], None]
# The work items of a call: the first one, and the one behind the last; None: all there are.
_Share = tuple[Expr, Expr] | None


@dataclass(frozen=True, kw_only=True)
class CopyKernel:
    """Moves values: y[Σ iₖ·y_strides[k] + y_offset] = requantize(x[Σ iₖ·x_strides[k] + x_offset]).

    Args:
        shape: extents of the moved values, in any number and order of axes.
        x, y: quantization, memory and border; y's border is filled when `border` says so.
        fill: code, or value if y has floats, for everything in y that is not moved to, border
            included; None leaves it alone.
    """

    shape: tuple[int, ...]
    x: Nhwc
    y: Nhwc
    x_strides: tuple[int, ...]
    y_strides: tuple[int, ...]
    x_offset: int = 0
    y_offset: int = 0
    clip: tuple[int, int] | None = None
    border: bool = True
    fill: float | None = None

    @property
    def erased(self) -> Self:
        """There are three kinds of code: codes as they are, moved by a difference, or scaled."""
        x, y = self.x.unscaled, self.y.unscaled
        fill = None if self.fill is None else 0
        if self.is_plain:
            return replace(self, x=x, y=y, fill=fill)
        x = replace(x, scale=2.0) if self.x.scale != self.y.scale else x
        return replace(self, x=x, y=y, fill=fill, clip=(0, 0))

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        plan = self._plan(mk)
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements // plan.run, plan.dtype(self.x.dtype))
            numbers = self.numbers(k)
            y = k.tensor(self.y.elements // plan.run, plan.dtype(self.y.dtype))
            if self.fill is None:
                begin, end = k.items(plan.items)
            else:  # everything, and then the values: threads would get into each other's way
                k.no_items()
                begin, end = const(0), const(plan.items)
                self._fill(mk, y, cast(numbers.float(1), self.y.dtype))
            if self.border and self.y.halo:
                # The first call alone writes the border, which is no item's own.
                with when(begin == 0):
                    self._borders(mk, y, numbers.zero)
            if plan.squares is None:
                self._move(mk, numbers, (x, y), plan, (begin, end))
            else:
                self._turn(mk, numbers, (x, y), plan, plan.squares, (begin, end))
        return k.finish()

    def _plan(self, mk: MicroKernel) -> CopyPlan:
        """What is moved as few long axes, of codes that stay as they are some at once."""
        walk = CopyWalk(
            axes=merged(self.shape, self.x_strides, self.y_strides),
            offsets=(self.x_offset, self.y_offset),
        )
        size = np.dtype(self.y.dtype).itemsize
        if self.is_plain and self.fill is None and not (self.border and self.y.halo):
            walk = walk.of_runs(size, self.x.elements, self.y.elements)
        bytes_at_once = tuple(n // (size * walk.run) for n in mk.byte_lanes)
        return CopyPlan.of(walk, mk, bytes_at_once if self.is_plain else _register(mk), size)

    def _move(
        self, mk: MicroKernel, numbers: NumbersConstant, buffers: tuple[Buffer, Buffer],
        plan: CopyPlan, share: tuple[Expr, Expr],
    ) -> None:  # fmt: skip
        """The first axis makes work items, the last is vectorized."""
        (_, *first), *outer, (count, *steps) = plan.axes
        # Planes that become pixels: two axes are moved at once, a vector of pixels at a time.
        pixels = outer.pop()[0] if are_planes(plan.axes) else 0

        def run(source: Index, to: Index) -> None:
            at = source, to
            if pixels:
                self._pixels(mk, numbers, buffers, at, pixels, count, steps[0])
            else:
                self._run(mk, numbers, buffers, at, count, (steps[0], steps[1]))

        with loop(*share) as item:
            x, y = plan.walk.offsets
            source, to = x + item * first[0], y + item * first[1]
            self._loops(outer, let(source), let(to), run)

    def _turn(
        self, mk: MicroKernel, numbers: NumbersConstant, buffers: tuple[Buffer, Buffer],
        plan: CopyPlan, two: Squares, share: tuple[Expr, Expr],
    ) -> None:  # fmt: skip
        """Two axes are moved by squares, the others one by one."""
        (x, y), side = plan.walk.offsets, two.side

        def run(source: Index, to: Index) -> None:
            def columns(place: Expr) -> None:
                at = let(source + place * two.columns[1]), let(to + place)
                two.move(lambda row: self.value(mk, numbers, row, side), *buffers, *at)

            two.places(two.columns, columns)

        def rows(source: Index, to: Index, axes: Sequence[Axis], share: _Share = None) -> None:
            def body(place: Expr) -> None:
                self._loops(axes, let(source + place), let(to + place * two.rows[2]), run)

            two.places(two.rows, body, share)

        if two.outermost:
            rows(x, y, two.others, share)
            return
        (_, *first), *outer = two.others
        with loop(*share) as item:
            source, to = let(x + item * first[0]), let(y + item * first[1])
            self._loops(outer, source, to, lambda source, to: rows(source, to, ()))

    def numbers(self, k: KernelBuilder) -> NumbersConstant:
        """Declare the ratio of the scales, the filling, and the zero point of x."""
        floats = (ratio(self.x.scale, self.y.scale), np.float32(self.fill or 0))
        return NumbersConstant(k, self.y, self.clip, floats, (self.x.zero_point,))

    def _fill(self, mk: MicroKernel, y: Buffer, code: Expr) -> None:
        """Fill all of y."""
        for_vectors(
            self.y.elements, mk.byte_lanes,
            lambda at, lanes: store(y, at, splat(code, lanes), lanes),
        )  # fmt: skip

    def _borders(self, mk: MicroKernel, y: Buffer, zero: Expr) -> None:
        """Fill the border next to every row."""
        with loop(0, self.y.n * self.y.h) as item:
            n, h = divmod_(item, self.y.h)
            fill_border(mk, y, self.y, n, h, zero)

    def _loops(self, axes: Sequence[Axis], source: Index, to: Index, body: _Body) -> None:
        """Emit a loop for each of the axes, and the body inside of them."""
        if not axes:
            body(source, to)
            return
        extent, x_step, y_step = axes[0]
        with loop(0, extent) as i:
            self._loops(axes[1:], let(source + i * x_step), let(to + i * y_step), body)

    def _run(
        self, mk: MicroKernel, numbers: NumbersConstant, buffers: tuple[Buffer, Buffer],
        at: tuple[Index, Index], count: int, steps: tuple[int, int],
    ) -> None:  # fmt: skip
        """Move the innermost axis: by vectors where both sides are dense."""
        (x, y), (source, to) = buffers, at
        # Both sides lie side by side.
        if steps == (1, 1):
            # Codes that stay as they are need no lane of int32 each.
            widths = mk.byte_lanes if self.is_plain else mk.lanes
            for_vectors(
                count, widths,
                lambda i, lanes: store(
                    y, to + i, self.value(mk, numbers, load(x, source + i, lanes), lanes), lanes
                ),
            )  # fmt: skip
            return
        # One side does not: element by element.
        with loop(0, count) as i:
            value = self.value(mk, numbers, load(x, source + i * steps[0]), 1)
            store(y, to + i * steps[1], value)

    def _pixels(
        self, mk: MicroKernel, numbers: NumbersConstant, buffers: tuple[Buffer, Buffer],
        at: tuple[Index, Index], count: int, planes: int, step: int,
    ) -> None:  # fmt: skip
        """Move pixels whose channels are planes in x, `step` apart: they are put together in
        registers.
        """
        (x, y), (source, to) = buffers, at

        def body(i: Index, lanes: int) -> None:
            places = [let(source + plane * step + i) for plane in range(planes)]
            values = [self.value(mk, numbers, load(x, place, lanes), lanes) for place in places]
            if lanes == 1:
                for plane, value in enumerate(values):
                    store(y, to + i * planes + plane, value)
                return
            # The first pixel of each plane, then the second one of each, and so on.
            order = [plane * lanes + lane for lane in range(lanes) for plane in range(planes)]
            store(y, to + i * planes, shuffle(values, order), lanes * planes)

        for_vectors(count, _register(mk), body)

    @property
    def is_plain(self) -> bool:
        """Whether the codes are copied as they are."""
        a, b = self.x, self.y
        same = (a.dtype, a.scale, a.zero_point) == (b.dtype, b.scale, b.zero_point)
        return same and self.clip is None

    def value(self, mk: MicroKernel, numbers: NumbersConstant, code: Expr, lanes: int) -> Expr:
        """What is stored in y for a code of x."""
        if self.is_plain:
            return code
        # Requantized: away from x's zero point first.
        centred = cast(code, "int32", lanes) - splat(numbers.int(0), lanes)
        if self.x.scale != self.y.scale:
            value = cast(centred, "float32", lanes) * splat(numbers.float(0), lanes)
            return numbers.codes(mk, value, lanes)
        # Equal scales: the difference of the zero points is all.
        clip = numbers.clip
        shifted = centred + splat(clip.zero, lanes)
        return cast(clamp(shifted, clip.low, clip.high, lanes), self.y.dtype, lanes)


def requantization(x: Nhwc, y: Nhwc, clip: tuple[int, int]) -> NDArray[np.generic] | None:
    """The code of y for each code of x, lowest first, by the arithmetic of `CopyKernel`; None if
    every code stays as it is.
    """
    low, high = all_codes(x.dtype)
    # Every code there is.
    codes = np.arange(low, high + 1)
    centred = codes - x.zero_point
    steps = (
        centred
        if x.scale == y.scale
        else np.rint(centred.astype(np.float32) * ratio(x.scale, y.scale))
    )
    made = (steps + y.zero_point).clip(*clip)
    return None if np.array_equal(made, codes) else made.astype(y.dtype)


def _register(mk: MicroKernel) -> tuple[int, ...]:
    """Lanes of what is computed in a register: wider vectors are shuffled from several at once."""
    return tuple(n for n in mk.lanes if n <= mk.register)

"""Moves: requantize, transpose, pad, slice, concatenate, reorder; one kernel over strides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.epilogue.scales import ratio
from edgekiln.compiler.kernels.numbers import NumbersConstant, all_codes
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import (
    clamp,
    divmod_,
    for_vectors,
    let,
    loop,
    store,
    when,
)
from edgekiln.compiler.kernels.types import Kernel, even_share
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, cast, const, load, shuffle, splat

# What is done at a place: from where in x, to where in y.
_Body = Callable[[Index, Index], None]
# An axis of what is moved: extent, stride in x, stride in y.
Axis = tuple[int, int, int]

_MOST_PLANES = 4  # of an image whose pixels are put together in registers


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
        # What is moved as few long axes: the first makes work items, the last is vectorized.
        axes = _with_items(merged(self.shape, self.x_strides, self.y_strides))
        (items, *first), *outer, (count, *steps) = axes
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            numbers = self.numbers(k)
            y = k.tensor(self.y.elements, self.y.dtype)
            if self.fill is None:
                begin, end = k.items(items)
            else:  # everything, and then the values: threads would get into each other's way
                k.no_items()
                begin, end = const(0), const(items)
                self._fill(mk, y, cast(numbers.float(1), self.y.dtype))
            if self.border and self.y.halo:
                # The first call alone writes the border, which is no item's own.
                with when(begin == 0):
                    self._borders(mk, y, numbers.zero)
            # Planes that become pixels: two axes are moved at once, a vector of pixels at a time.
            pixels = outer.pop()[0] if _are_planes(outer, count, steps[1]) else 0
            with loop(begin, end) as item:
                source, to = self.x_offset + item * first[0], self.y_offset + item * first[1]

                def run(source: Index, to: Index) -> None:
                    at = source, to
                    if pixels:
                        self._pixels(mk, numbers, (x, y), at, pixels, count, steps[0])
                    else:
                        self._run(mk, numbers, (x, y), at, count, (steps[0], steps[1]))

                self._loops(outer, let(source), let(to), run)
        return k.finish()

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

        # Wider vectors would be shuffled from several registers at once.
        for_vectors(count, tuple(n for n in mk.lanes if n <= mk.register), body)

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


def _are_planes(outer: Sequence[Axis], count: int, step: int) -> bool:
    """Whether `count` channels side by side come from planes whose pixels are."""
    return bool(outer) and outer[-1][1:] == (1, count) and step == 1 and count <= _MOST_PLANES


def merged(shape: Sequence[int], x_strides: Sequence[int], y_strides: Sequence[int]) -> list[Axis]:
    """Return the axes in the order of y's memory, joined where both sides are dense."""
    given = zip(shape, x_strides, y_strides, strict=True)
    axes: list[Axis] = []
    for extent, a, b in sorted(given, key=lambda axis: -axis[2]):
        # An axis of one step is none.
        if extent == 1:
            continue
        # This axis continues where one step of the axis before it ends, in x and in y.
        if axes and axes[-1][1] == a * extent and axes[-1][2] == b * extent:
            axes[-1] = (axes[-1][0] * extent, a, b)
        else:
            axes.append((extent, a, b))
    return axes or [(1, 1, 1)]


def _with_items(axes: list[Axis]) -> list[Axis]:
    """Return the axes with one in front of the innermost one, for the work items. Where there is
    none the innermost one is cut.
    """
    if len(axes) > 1:
        return axes
    ((extent, a, b),) = axes
    size = even_share(extent)
    return [(extent // size, size * a, size * b), (size, a, b)]

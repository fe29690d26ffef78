"""Moves: requantize, transpose, pad, slice, concatenate, reorder; one kernel over strides."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.epilogue import all_codes, codes, ratio
from edgekiln.compiler.kernels.spec import Kernel, Nhwc
from edgekiln.compiler.kernels.tir import (
    BYTE_WIDTHS,
    Buffer,
    Index,
    KernelBuilder,
    bind,
    cast,
    clamp,
    const,
    divmod_,
    float_const,
    for_vectors,
    load,
    loop,
    store,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, MicroKernel, splat

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Copy:
    """y[Σ iₖ·y_strides[k] + y_offset] = requantize(x[Σ iₖ·x_strides[k] + x_offset]).

    Args:
        shape: extents of the moved values, in any number and order of axes.
        x, y: quantization, memory and border; y's border is filled when `border` says so.
        fill: code for everything in y that is not moved to, border included; None leaves it alone.
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
    fill: int | None = None

    def build(self, mk: MicroKernel) -> Kernel:
        axes = _merged(self.shape, self.x_strides, self.y_strides)
        *outer, (count, x_step, y_step) = axes
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            y = k.tensor(self.y.elements, self.y.dtype)
            if self.fill is not None:
                self._fill(y, self.fill)
            if self.border:
                self._borders(y)
            self._loops(outer, self.x_offset, self.y_offset, lambda source, to: self._run(
                mk, x, y, (source, to), count, (x_step, y_step)
            ))  # fmt: skip
        return k.finish()

    def _fill(self, y: Buffer, code: int) -> None:
        value = cast(const(code), self.y.dtype)
        for_vectors(
            self.y.elements, BYTE_WIDTHS,
            lambda at, lanes: store(y, at, splat(value, lanes), lanes),
        )  # fmt: skip

    def _borders(self, y: Buffer) -> None:
        if self.y.halo:
            with loop(0, self.y.n * self.y.h) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(y, self.y, n, h, cast(const(self.y.zero_point), self.y.dtype))

    def _loops(
        self, axes: "Sequence[tuple[int, int, int]]", source: Index, to: Index, body: "_Body"
    ) -> None:
        if not axes:
            body(source, to)
            return
        extent, x_step, y_step = axes[0]
        with loop(0, extent) as i:
            self._loops(axes[1:], bind(source + i * x_step), bind(to + i * y_step), body)

    def _run(
        self, mk: MicroKernel, x: Buffer, y: Buffer, at: tuple[Index, Index], count: int,
        steps: tuple[int, int],
    ) -> None:  # fmt: skip
        """The innermost axis: vectors where both sides are dense."""
        source, to = at
        if steps == (1, 1):
            widths = BYTE_WIDTHS if self._is_plain else mk.lanes
            for_vectors(
                count, widths,
                lambda i, lanes: store(
                    y, to + i, self._value(mk, load(x, source + i, lanes), lanes), lanes
                ),
            )  # fmt: skip
            return
        with loop(0, count) as i:
            value = self._value(mk, load(x, source + i * steps[0]), 1)
            store(y, to + i * steps[1], value)

    @property
    def _is_plain(self) -> bool:
        """Whether the codes are copied as they are."""
        a, b = self.x, self.y
        same = (a.dtype, a.scale, a.zero_point) == (b.dtype, b.scale, b.zero_point)
        return same and self.clip is None

    def _value(self, mk: MicroKernel, code: Expr, lanes: int) -> Expr:
        if self._is_plain:
            return code
        clip = self.clip or all_codes(self.y)
        centred = cast(code, "int32", lanes) - splat(const(self.x.zero_point), lanes)
        factor = ratio(self.x.scale, self.y.scale)
        if factor == np.float32(1):
            shifted = centred + splat(const(self.y.zero_point), lanes)
            low, high = map(const, clip)
            return cast(clamp(shifted, low, high, lanes), self.y.dtype, lanes)
        value = cast(centred, "float32", lanes) * splat(float_const(factor), lanes)
        return codes(mk, value, self.y, clip, lanes)


def _merged(
    shape: "Sequence[int]", x_strides: "Sequence[int]", y_strides: "Sequence[int]"
) -> list[tuple[int, int, int]]:
    """(extent, x stride, y stride) of the axes: in the order of y's memory, joined where dense."""
    given = zip(shape, x_strides, y_strides, strict=True)
    axes: list[tuple[int, int, int]] = []
    for extent, a, b in sorted(given, key=lambda axis: -axis[2]):
        if extent == 1:
            continue
        if axes and axes[-1][1] == a * extent and axes[-1][2] == b * extent:
            axes[-1] = (axes[-1][0] * extent, a, b)
        else:
            axes.append((extent, a, b))
    return axes or [(1, 1, 1)]


if TYPE_CHECKING:
    from collections.abc import Callable

    _Body = Callable[[Index, Index], None]

"""Camera frames: colors, and bilinear resizing, byte by byte in integers.

The arithmetic is Pillow's and OpenCV's, see `onnx_model.ends.functions`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.numbers import NumbersConstant
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import divmod_, for_vectors, let, loop, register, store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.compiler.onnx_model.ends.resampling import Resampling
from edgekiln.compiler.onnx_model.ends.yuv import YuvFrame
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

_RESAMPLING_BITS, _COLOR_BITS = 22, 20
_UNROLLED = 16  # taps
# Of brightness above 16, and of U and V around 128, in 2²⁰ths.
_LUMA, _U_BLUE, _U_GREEN, _V_GREEN, _V_RED = 1220542, 2116026, -409993, -852492, 1673527


@dataclass(frozen=True, kw_only=True, eq=False)
class ResampleKernel:
    """y[o, j, :] = Σ weights[j, t] · x[o, starts[j] + t, :] / 2²², rounded half up.

    Args:
        outer: how many o there are.
        before: pixels of x along the axis.
        inner: bytes of each.
        x, y: the types of both, and the zero points: what stands for black.
    """

    outer: int
    before: int
    inner: int
    by: Resampling
    x: Nhwc
    y: Nhwc

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        by = Resampling(
            starts=np.zeros_like(self.by.starts), weights=np.zeros_like(self.by.weights)
        )
        return replace(self, by=by)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        after, taps = self.by.weights.shape
        with KernelBuilder() as k:
            x = k.tensor(self.outer * self.before * self.inner, self.x.dtype)
            starts = k.constant(self.by.starts)
            weights = k.constant(self.by.weights)
            y = k.tensor(self.outer * after * self.inner, self.y.dtype)
            with loop(*k.items(self.outer * after)) as item:
                block, place = divmod_(item, after)
                first = let(block * self.before + load(starts, place))
                weight = let(place * taps)
                to = let(item * self.inner)

                def body(i: Index, lanes: int) -> None:
                    total = register("int32", lanes)
                    store(total, 0, splat(const(1 << (_RESAMPLING_BITS - 1)), lanes), lanes)

                    def tap(t: Index) -> None:
                        pixels = _bytes(x, (first + t) * self.inner + i, self.x, lanes)
                        weighted = pixels * splat(load(weights, weight + t), lanes)
                        store(total, 0, load(total, 0, lanes) + weighted, lanes)

                    if taps <= _UNROLLED:
                        for number in range(taps):
                            tap(number)
                    else:
                        with loop(0, taps) as t:
                            tap(t)
                    whole = _shifted(load(total, 0, lanes), _RESAMPLING_BITS, lanes)
                    store(y, to + i, _codes(whole, self.y, lanes), lanes)

                for_vectors(self.inner, mk.lanes, body)
        return k.finish()


@dataclass(frozen=True, kw_only=True)
class YuvKernel:
    """Pixels of a frame: (n, *frame.shape) bytes → (n, H, W, channels)."""

    n: int
    frame: YuvFrame
    channels: int
    y: Nhwc

    @property
    def erased(self) -> Self:
        """The kernel itself, for no number lies in memory."""
        return self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:  # noqa: ARG002  # scalars, on every chip the same
        """Build the kernel."""
        rows, columns = self.frame.shape
        height, width = self.frame.height, self.frame.width
        planar = self.frame.format == "nv12"
        with KernelBuilder() as k:
            x = k.tensor(self.n * rows * columns, "uint8")
            y = k.tensor(self.n * height * width * self.channels, self.y.dtype)
            with loop(*k.items(self.n * height)) as item:
                image, row = divmod_(item, height)
                luma = let((image * rows + row) * columns)
                half, _ = divmod_(row, 2)
                chroma = let((image * rows + height + half) * columns) if planar else luma
                to = let(item * (width * self.channels))
                with loop(0, width // 2) as pair:
                    u_at = let(chroma + pair * 2 if planar else luma + pair * 4 + 1)
                    v_at = u_at + (1 if planar else 2)
                    colors = self._colors(x, u_at, v_at)
                    for side in (0, 1):
                        at = luma + (pair * 2 + side if planar else pair * 4 + side * 2)
                        bright = cast(load(x, at), "int32") - const(16)
                        light = let(maximum(bright, const(0)) * const(_LUMA))
                        pixel = to + (pair * 2 + side) * self.channels
                        for channel, color in enumerate(colors):
                            total = light + color + const(1 << (_COLOR_BITS - 1))
                            whole = _shifted(maximum(total, const(0)), _COLOR_BITS, 1)
                            store(y, pixel + channel, _codes(whole, self.y, 1))
        return k.finish()

    def _colors(self, x: Buffer, u_at: Expr, v_at: Expr) -> Sequence[Expr]:
        """What is added to brightness in each channel."""
        if self.channels == 1:
            return (const(0),)
        u, v = (let(cast(load(x, at), "int32") - const(128)) for at in (u_at, v_at))
        red, blue = v * const(_V_RED), u * const(_U_BLUE)
        green = u * const(_U_GREEN) + v * const(_V_GREEN)
        return tuple(let(color) for color in (red, green, blue))


@dataclass(frozen=True, kw_only=True, eq=False)
class ChannelLookupKernel:
    """y = table[channel][x]: a function of one code, another one in each channel of an image.

    Args:
        table: (c, 256) codes of y by the code of x, lowest first.
    """

    x: Nhwc
    y: Nhwc
    table: NDArray[np.generic]

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        table = np.zeros_like(self.table)
        return replace(self, x=self.x.unscaled, y=self.y.unscaled, table=table)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        lowest = np.iinfo(self.x.dtype).min
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            table = k.constant(self.table.reshape(-1))
            numbers = NumbersConstant(k, self.y)
            y = k.tensor(self.y.elements, self.y.dtype)
            with loop(*k.items(self.y.n * self.y.h)) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(mk, y, self.y, n, h, numbers.zero)
                source, to = let(self.x.index(n, h, 0, 0)), let(self.y.index(n, h, 0, 0))
                with loop(0, self.y.w) as w:
                    for c in range(self.y.c):
                        code = cast(load(x, source + w * self.x.pixel + c), "int32")
                        entry = load(table, code + const(256 * c - int(lowest)))
                        store(y, to + w * self.y.pixel + c, entry)
        return k.finish()


def _bytes(x: Buffer, index: Index, of: Nhwc, lanes: int) -> Expr:
    """Bytes from 0 to 255 as int32, whatever code stands for black."""
    wide = cast(load(x, index, lanes), "int32", lanes)
    return wide - splat(const(of.zero_point), lanes) if of.zero_point else wide


def _shifted(value: Expr, bits: int, lanes: int) -> Expr:
    """A number that is not negative, divided by a power of two."""
    return value >> splat(const(bits), lanes)


def _codes(value: Expr, of: Nhwc, lanes: int) -> Expr:
    """Codes of what is not negative; more than white is white."""
    inside = minimum(value, splat(const(255), lanes))
    return cast(inside + splat(const(of.zero_point), lanes), of.dtype, lanes)

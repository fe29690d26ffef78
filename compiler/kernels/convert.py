"""The program's edge: float32 to codes and back, NCHW to channels-last and back."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc, Planes
from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.numbers import NumbersConstant
from edgekiln.compiler.kernels.rounding import HalfAway, Rounding
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import (
    divmod_,
    for_vectors,
    let,
    loop,
    register,
    store,
)
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    cast,
    float_const,
    load,
    shuffle,
    splat,
)

_MOST_PLANES = 4  # of an image whose pixels are put together in registers


@dataclass(frozen=True, kw_only=True)
class QuantizeKernel:
    """Computes y = saturate(round(x / scale) + zero point), ONNX's QuantizeLinear: a true division.

    NaN becomes the lowest code.

    Args:
        x: floats in the order of y, or an image in ONNX's.
    """

    x: Nhwc | Planes
    y: Nhwc

    @property
    def rounding(self) -> Rounding:
        """How floats become codes."""
        return Rounding(self.y)

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        return replace(self, y=self.rounding.erased)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, "float32")
            numbers = self.rounding.numbers(k)
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.y.n * self.y.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(mk, y, self.y, n, h, numbers.zero)
                self._row(mk, numbers, (x, y), n, h)
        return k.finish()

    def _row(
        self,
        mk: MicroKernel,
        numbers: NumbersConstant,
        buffers: tuple[Buffer, Buffer],
        n: Index,
        h: Index,
    ) -> None:
        """Emit one row, in the way that the order of x's elements allows."""

        def code(index: Index, lanes: int) -> Expr:
            return self.rounding.codes(mk, numbers, load(x, index, lanes), lanes)

        x, y = buffers
        source, to = let(self.x.index(n, h, 0, 0)), let(self.y.index(n, h, 0, 0))
        if not isinstance(self.x, Planes):
            # A row has no padding on either side.
            count = self.y.w * self.y.c
            for_vectors(
                count, mk.lanes,
                lambda i, lanes: store(y, to + i, code(source + i, lanes), lanes),
            )  # fmt: skip
            return
        # Channels are planes in x, and neighbours in y.
        step = self.x.plane
        planes = [let(source + c * step) for c in range(self.y.c)]

        def pixels(w: Index, lanes: int) -> None:
            found = [code(plane + w, lanes) for plane in planes]
            self._store_pixels(y, to + w * self.y.c, found, lanes)

        # Few channels, as of a camera's image: pixels are put together in registers.
        if self.y.c <= _MOST_PLANES:
            for_vectors(self.y.w, mk.lanes, pixels)
            return
        # Many channels: a vector of one plane is stored lane by lane.
        lanes = next((width for width in mk.lanes if width <= self.y.w), 1)
        with loop(0, self.y.c) as c:
            plane = let(source + c * step)

            def scatter(w: Index, lanes: int) -> None:
                found = code(plane + w, lanes)
                _scatter(y, to + c + w * self.y.c, found, lanes, self.y.c, self.y.dtype)

            for_vectors(self.y.w, (lanes,), scatter)

    def _store_pixels(self, y: Buffer, to: Index, planes: list[Expr], lanes: int) -> None:
        """Store the codes of all planes as whole pixels."""
        count = self.y.c
        if lanes == 1:
            for c, code in enumerate(planes):
                store(y, to + c, code)
            return
        # The first pixel of each plane, then the second one of each, and so on.
        order = [plane * lanes + lane for lane in range(lanes) for plane in range(count)]
        store(y, to, shuffle(planes, order), lanes * count)


@dataclass(frozen=True, kw_only=True)
class HalfAwayKernel(QuantizeKernel):
    """Computes y as TFLite's QUANTIZE does: what lies between two codes goes away from zero."""

    @property
    def rounding(self) -> Rounding:
        return HalfAway(self.y)


@dataclass(frozen=True, kw_only=True)
class DequantizeKernel:
    """Computes y = (x - zero point) · scale.

    Args:
        y: floats in the order of x, or an image in ONNX's.
    """

    x: Nhwc
    y: Nhwc | Planes

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        return replace(self, x=self.x.unscaled)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            scale = k.constant(np.array([self.x.scale], np.float32))
            zero = k.constant(np.array([self.x.zero_point], np.int32))
            y = k.tensor(self.y.elements, "float32")
            begin, end = k.items(self.x.n * self.x.h)

            def value(index: Index, lanes: int) -> Expr:
                centred = mk.widen(load(x, index, lanes), lanes) - splat(load(zero, 0), lanes)
                return cast(centred, "float32", lanes) * splat(load(scale, 0), lanes)

            with loop(begin, end) as item:
                n, h = divmod_(item, self.x.h)
                if isinstance(self.y, Nhwc):
                    fill_border(mk, y, self.y, n, h, float_const(0.0))
                self._row(mk, value, y, n, h)
        return k.finish()

    def _row(
        self, mk: MicroKernel, value: Callable[[Index, int], Expr], y: Buffer, n: Index, h: Index
    ) -> None:
        """Emit one row; `value(index, lanes)` are real values of x."""
        source, to = let(self.x.index(n, h, 0, 0)), let(self.y.index(n, h, 0, 0))
        if not isinstance(self.y, Planes):
            for_vectors(
                self.x.w * self.x.c, mk.lanes,
                lambda i, lanes: store(y, to + i, value(source + i, lanes), lanes),
            )  # fmt: skip
            return
        # To planes: element by element, as only edges of programs do.
        with loop(0, self.x.c) as c, loop(0, self.x.w) as w:
            store(y, to + c * self.y.plane + w, value(source + w * self.x.c + c, 1))


def _scatter(y: Buffer, to: Index, codes: Expr, lanes: int, step: int, dtype: str) -> None:
    """Store the lanes `step` elements apart."""
    scratch = register(dtype, lanes)
    store(scratch, 0, codes, lanes)
    for lane in range(lanes):
        store(y, to + lane * step, load(scratch, lane))

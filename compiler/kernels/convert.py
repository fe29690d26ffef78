"""The program's edge: float32 to codes and back, NCHW to channels-last and back."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from edgekiln.compiler.ir.memory import F32, Nhwc
from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.epilogue.scales import divided_by_reciprocal
from edgekiln.compiler.kernels.numbers import NumbersConstant
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
from edgekiln.targets.isa.codes import Divisor
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    cast,
    float_const,
    load,
    maximum,
    minimum,
    select,
    shuffle,
    splat,
)

_MOST_PLANES = 4  # of an image whose pixels are put together in registers
_FAR = 2.0**20  # steps that are beyond all codes, and whole numbers in float32
_BELOW_HALF = float(np.nextafter(np.float32(0.5), np.float32(0)))


@dataclass(frozen=True, kw_only=True)
class QuantizeKernel:
    """Computes y = saturate(round(x / scale) + zero point), ONNX's QuantizeLinear: a true division.

    NaN becomes the lowest code.
    """

    x: F32
    y: Nhwc

    @property
    def by_reciprocal(self) -> bool:
        """Whether products with the reciprocal have the codes of quotients, as nearly always."""
        return divided_by_reciprocal(self.y.scale)

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        return replace(self, y=self.y.unscaled) if self.by_reciprocal else self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, "float32")
            numbers = self.numbers(k)
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.y.n * self.y.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(mk, y, self.y, n, h, numbers.zero)
                self._row(mk, numbers, (x, y), n, h)
        return k.finish()

    def numbers(self, k: KernelBuilder) -> NumbersConstant:
        """Declare the scale, as numbers to divide by, and what codes may be."""
        floats = Divisor.numbers(self.y.scale)
        return NumbersConstant(k, self.y, floats=floats, bounded=self.by_reciprocal)

    def code(self, mk: MicroKernel, numbers: NumbersConstant, value: Expr, lanes: int) -> Expr:
        """The codes of values."""
        # The divisor's numbers are read from memory, so that scales share code.
        divisor = Divisor(*map(numbers.float, range(4)))
        return numbers.codes(mk, self._steps(mk, value, divisor, lanes), lanes)

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
            return self.code(mk, numbers, load(x, index, lanes), lanes)

        x, y = buffers
        source, to = let(self.x.index(n, h, 0, 0)), let(self.y.index(n, h, 0, 0))
        _, _, step_w, step_c = self.x.strides
        if step_c == 1 or self.y.c == 1:  # the same order on both sides
            # A row has no padding on either side.
            count = self.y.w * self.y.c
            for_vectors(
                count, mk.lanes,
                lambda i, lanes: store(y, to + i, code(source + i, lanes), lanes),
            )  # fmt: skip
            return
        # Channels are planes in x, and neighbours in y.
        planes = [let(source + c * step_c) for c in range(self.y.c)]

        def pixels(w: Index, lanes: int) -> None:
            found = [code(plane + w * step_w, lanes) for plane in planes]
            self._store_pixels(y, to + w * self.y.c, found, lanes)

        # Few channels, as of a camera's image: pixels are put together in registers.
        if self.y.c <= _MOST_PLANES:
            for_vectors(self.y.w, mk.lanes, pixels)
            return
        # Many channels: a vector of one plane is stored lane by lane.
        lanes = next((width for width in mk.lanes if width <= self.y.w), 1)
        with loop(0, self.y.c) as c:
            plane = let(source + c * step_c)

            def scatter(w: Index, lanes: int) -> None:
                found = code(plane + w * step_w, lanes)
                _scatter(y, to + c + w * self.y.c, found, lanes, self.y.c, self.y.dtype)

            for_vectors(self.y.w, (lanes,), scatter)

    def _steps(self, mk: MicroKernel, value: Expr, divisor: Divisor, lanes: int) -> Expr:
        """The value in steps of y, before it is rounded."""
        if self.by_reciprocal:
            return mk.quotient(value, divisor, lanes)
        # The rare scale for which only a true division has ONNX's codes.
        return value / splat(divisor.value, lanes)

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
    def by_reciprocal(self) -> bool:
        """A quotient in the middle must be exactly there."""
        return False

    def _steps(self, mk: MicroKernel, value: Expr, divisor: Divisor, lanes: int) -> Expr:
        del mk  # no chip has an instruction for it
        steps = value / splat(divisor.value, lanes)
        size = minimum(maximum(steps, -steps), splat(float_const(_FAR), lanes))
        # The largest number below a half: with it no sum is rounded up to a whole number.
        whole = cast(size + splat(float_const(_BELOW_HALF), lanes), "int32", lanes)
        rounded = cast(whole, "float32", lanes)
        return select(steps >= splat(float_const(0.0), lanes), rounded, -rounded)


@dataclass(frozen=True, kw_only=True)
class DequantizeKernel:
    """Computes y = (x - zero point) · scale."""

    x: Nhwc
    y: F32

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
                self._row(mk, value, y, n, h)
        return k.finish()

    def _row(
        self, mk: MicroKernel, value: Callable[[Index, int], Expr], y: Buffer, n: Index, h: Index
    ) -> None:
        """Emit one row; `value(index, lanes)` are real values of x."""
        source, to = let(self.x.index(n, h, 0, 0)), let(self.y.index(n, h, 0, 0))
        _, _, step_w, step_c = self.y.strides
        if step_c == 1 or self.x.c == 1:
            for_vectors(
                self.x.w * self.x.c, mk.lanes,
                lambda i, lanes: store(y, to + i, value(source + i, lanes), lanes),
            )  # fmt: skip
            return
        # To planes: element by element, as only edges of programs do.
        with loop(0, self.x.c) as c, loop(0, self.x.w) as w:
            store(y, to + c * step_c + w * step_w, value(source + w * self.x.c + c, 1))


def _scatter(y: Buffer, to: Index, codes: Expr, lanes: int, step: int, dtype: str) -> None:
    """Store the lanes `step` elements apart."""
    scratch = register(dtype, lanes)
    store(scratch, 0, codes, lanes)
    for lane in range(lanes):
        store(y, to + lane * step, load(scratch, lane))

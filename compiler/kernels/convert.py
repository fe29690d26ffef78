"""The program's edge: float32 to codes and back, NCHW to channels-last and back."""

from dataclasses import dataclass

from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.epilogue import all_codes, codes
from edgekiln.compiler.kernels.spec import F32, Kernel, Nhwc
from edgekiln.compiler.kernels.tir import (
    Buffer,
    Index,
    KernelBuilder,
    bind,
    cast,
    const,
    divmod_,
    float_const,
    for_vectors,
    load,
    loop,
    register,
    store,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, MicroKernel, pick, splat

_MOST_PLANES = 4  # of an image whose pixels are put together in registers


@dataclass(frozen=True, kw_only=True)
class Quantize:
    """y = saturate(round(x / scale) + zero point), ONNX's QuantizeLinear: a true division.

    NaN becomes the lowest code.
    """

    x: F32
    y: Nhwc

    def build(self, mk: MicroKernel) -> Kernel:
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, "float32")
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.y.n * self.y.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(y, self.y, n, h, cast(const(self.y.zero_point), self.y.dtype))
                self._row(mk, x, y, n, h)
        return k.finish()

    def _row(self, mk: MicroKernel, x: Buffer, y: Buffer, n: Index, h: Index) -> None:
        source, to = bind(self.x.index(n, h, 0, 0)), bind(self.y.index(n, h, 0, 0))
        _, _, step_w, step_c = self.x.strides
        if step_c == 1 or self.y.c == 1:  # the same order on both sides
            count = self.y.w * self.y.c
            for_vectors(
                count, mk.lanes,
                lambda i, lanes: store(
                    y, to + i, self._code(mk, load(x, source + i, lanes), lanes), lanes
                ),
            )  # fmt: skip
            return
        planes = [bind(source + c * step_c) for c in range(self.y.c)]

        def pixels(w: Index, lanes: int) -> None:
            found = [self._code(mk, load(x, plane + w * step_w, lanes), lanes) for plane in planes]
            self._store_pixels(y, to + w * self.y.c, found, lanes)

        if self.y.c <= _MOST_PLANES:
            for_vectors(self.y.w, tuple(n for n in mk.lanes if n <= mk.register), pixels)
            return
        lanes = next((width for width in mk.lanes if width <= self.y.w), 1)
        with loop(0, self.y.c) as c:
            plane = bind(source + c * step_c)

            def scatter(w: Index, lanes: int) -> None:
                found = self._code(mk, load(x, plane + w * step_w, lanes), lanes)
                _scatter(y, to + c + w * self.y.c, found, lanes, self.y.c, self.y.dtype)

            for_vectors(self.y.w, (lanes,), scatter)

    def _store_pixels(self, y: Buffer, to: Index, planes: list[Expr], lanes: int) -> None:
        """Codes of one plane each, as whole pixels."""
        count = self.y.c
        if lanes == 1:
            for c, code in enumerate(planes):
                store(y, to + c, code)
            return
        order = [plane * lanes + lane for lane in range(lanes) for plane in range(count)]
        store(y, to, pick(planes, order), lanes * count)

    def _code(self, mk: MicroKernel, value: Expr, lanes: int) -> Expr:
        steps = value / splat(float_const(self.y.scale), lanes)
        return codes(mk, steps, self.y, all_codes(self.y), lanes)


@dataclass(frozen=True, kw_only=True)
class Dequantize:
    """y = (x - zero point) · scale."""

    x: Nhwc
    y: F32

    def build(self, mk: MicroKernel) -> Kernel:
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            y = k.tensor(self.y.elements, "float32")
            begin, end = k.items(self.x.n * self.x.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, self.x.h)
                self._row(mk, x, y, n, h)
        return k.finish()

    def _row(self, mk: MicroKernel, x: Buffer, y: Buffer, n: Index, h: Index) -> None:
        source, to = bind(self.x.index(n, h, 0, 0)), bind(self.y.index(n, h, 0, 0))
        _, _, step_w, step_c = self.y.strides
        if step_c == 1 or self.x.c == 1:
            for_vectors(
                self.x.w * self.x.c, mk.lanes,
                lambda i, lanes: store(
                    y, to + i, self._value(mk, load(x, source + i, lanes), lanes), lanes
                ),
            )  # fmt: skip
            return
        with loop(0, self.x.c) as c, loop(0, self.x.w) as w:
            code = load(x, source + w * self.x.c + c)
            store(y, to + c * step_c + w * step_w, self._value(mk, code, 1))

    def _value(self, mk: MicroKernel, code: Expr, lanes: int) -> Expr:
        centred = mk.widen(code, lanes) - splat(const(self.x.zero_point), lanes)
        return cast(centred, "float32", lanes) * splat(float_const(self.x.scale), lanes)


def _scatter(y: Buffer, to: Index, codes: Expr, lanes: int, step: int, dtype: str) -> None:
    """Store the lanes `step` elements apart."""
    scratch = register(dtype, lanes)
    store(scratch, 0, codes, lanes)
    for lane in range(lanes):
        store(y, to + lane * step, load(scratch, lane))

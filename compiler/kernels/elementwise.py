"""Sums and products of two quantized tensors, and any unary function as a table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.epilogue import codes, lookup, ratio
from edgekiln.compiler.kernels.spec import Kernel, Nhwc
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
    store,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, MicroKernel, splat

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Binary:
    """y = a + b or y = a · b, in real values; requantized and clipped.

    Args:
        b: shaped like a; or one value a channel (h = w = 1); or one value. One image serves all.
        clip: lowest and highest code of y.
    """

    kind: Literal["add", "mul"]
    a: Nhwc
    b: Nhwc
    y: Nhwc
    clip: tuple[int, int] = (0, 255)

    def build(self, mk: MicroKernel) -> Kernel:
        with KernelBuilder() as k:
            a = k.tensor(self.a.elements, self.a.dtype)
            b = k.tensor(self.b.elements, self.b.dtype)
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.y.n * self.y.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(y, self.y, n, h, cast(const(self.y.zero_point), self.y.dtype))
                self._row(mk, (a, b, y), n, h)
        return k.finish()

    def _row(
        self, mk: MicroKernel, buffers: tuple[Buffer, Buffer, Buffer], n: Index, h: Index
    ) -> None:
        a, b, y = buffers
        whole = (self.b.h, self.b.w, self.b.c) == (self.y.h, self.y.w, self.y.c)

        def run(count: int, from_a: Index, from_b: Callable[[Index], Index], to: Index) -> None:
            def body(at: Index, lanes: int) -> None:
                one = self.b.c == 1 and not whole
                other = load(b, from_b(at), 1 if one else lanes)
                other = splat(other, lanes) if one else other
                value = self._value(mk, load(a, from_a + at, lanes), other, lanes)
                store(y, to + at, value, lanes)

            for_vectors(count, mk.lanes, body)

        image = n if self.b.n == self.y.n else 0
        if whole:
            at_a, at_b = bind(self.a.index(n, h, 0, 0)), bind(self.b.index(image, h, 0, 0))
            run(self.y.w * self.y.c, at_a, lambda c: at_b + c, bind(self.y.index(n, h, 0, 0)))
            return
        with loop(0, self.y.w) as w:
            at_b = bind(self.b.index(image, 0, 0, 0))
            channel = (lambda c: at_b + c) if self.b.c > 1 else (lambda _: at_b)
            at_a, to = bind(self.a.index(n, h, w, 0)), bind(self.y.index(n, h, w, 0))
            run(self.y.c, at_a, channel, to)

    def _value(self, mk: MicroKernel, a: Expr, b: Expr, lanes: int) -> Expr:
        """The codes of y from those of a and b."""
        left = mk.widen(a, lanes) - splat(const(self.a.zero_point), lanes)
        right = mk.widen(b, lanes) - splat(const(self.b.zero_point), lanes)
        if self.kind == "add":
            of_a, of_b = ratio(self.a.scale, self.y.scale), ratio(self.b.scale, self.y.scale)
            scaled = cast(right, "float32", lanes) * splat(float_const(of_b), lanes)
            wide = cast(left, "float32", lanes)
            value = mk.fma(wide, splat(float_const(of_a), lanes), scaled, lanes)
        else:
            factor = ratio(self.a.scale * self.b.scale, self.y.scale)
            value = cast(left * right, "float32", lanes) * splat(float_const(factor), lanes)
        return codes(mk, value, self.y, self.clip, lanes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """y = table[x], any function of one code.

    Args:
        table: (256,) codes of y by the code of x, lowest first.
    """

    x: Nhwc
    y: Nhwc
    table: "NDArray[np.generic]"

    def build(self, mk: MicroKernel) -> Kernel:
        del mk  # one load a code on every instruction set
        # Indexed by the bit pattern, in which -128…-1 follow 127.
        ordered = np.roll(self.table, 128) if self.x.dtype == "int8" else self.table
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            table = k.constant(ordered.view(np.uint8))
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.y.n * self.y.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(y, self.y, n, h, cast(const(self.y.zero_point), self.y.dtype))
                source, to = bind(self.x.index(n, h, 0, 0)), bind(self.y.index(n, h, 0, 0))
                with loop(0, self.y.w * self.y.c) as i:
                    code = lookup(table, load(x, source + i), self.y.dtype)
                    store(y, to + i, code)
        return k.finish()

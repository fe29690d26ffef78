"""Sums and products of two quantized tensors, and any unary function as a table."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.epilogue import ratio
from edgekiln.compiler.kernels.numbers import Numbers
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.spec import Kernel, Nhwc
from edgekiln.compiler.kernels.tir import (
    Buffer,
    Index,
    KernelBuilder,
    bind,
    cast,
    divmod_,
    for_vectors,
    load,
    loop,
    store,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, MicroKernel, splat

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _erased_binary(binary: "Binary") -> "Binary":
    a, b, y = binary.a.unscaled, binary.b.unscaled, binary.y.unscaled
    return replace(binary, a=a, b=b, y=y, clip=(0, 0))


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

    @shared(_erased_binary)
    def build(self, mk: MicroKernel) -> Kernel:
        with KernelBuilder() as k:
            a = k.tensor(self.a.elements, self.a.dtype)
            b = k.tensor(self.b.elements, self.b.dtype)
            numbers = self._numbers(k)
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.y.n * self.y.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(mk, y, self.y, n, h, numbers.zero)
                combine_row(
                    mk, (self.a, self.b, self.y), (a, b, y), (n, h),
                    lambda a, b, lanes: self._value(mk, numbers, a, b, lanes),
                )  # fmt: skip
        return k.finish()

    def _numbers(self, k: KernelBuilder) -> Numbers:
        factors = [ratio(self.a.scale * self.b.scale, self.y.scale)]
        if self.kind == "add":
            factors = [ratio(side.scale, self.y.scale) for side in (self.a, self.b)]
        return Numbers(k, self.y, self.clip, factors, (self.a.zero_point, self.b.zero_point))

    def _value(self, mk: MicroKernel, numbers: Numbers, a: Expr, b: Expr, lanes: int) -> Expr:
        """The codes of y from those of a and b."""
        left = mk.widen(a, lanes) - splat(numbers.int(0), lanes)
        right = mk.widen(b, lanes) - splat(numbers.int(1), lanes)
        of_a = splat(numbers.float(0), lanes)
        if self.kind == "add":
            scaled = cast(right, "float32", lanes) * splat(numbers.float(1), lanes)
            value = mk.fma(cast(left, "float32", lanes), of_a, scaled, lanes)
        else:
            value = cast(left * right, "float32", lanes) * of_a
        return numbers.codes(mk, value, lanes)


def combine_row(
    mk: MicroKernel,
    tensors: tuple[Nhwc, Nhwc, Nhwc],
    buffers: tuple[Buffer, Buffer, Buffer],
    at: tuple[Index, Index],
    value: Callable[[Expr, Expr, int], Expr],
) -> None:
    """Store `value` of each pair of elements of a and b in row `at` (n, h) of y.

    Args:
        tensors: a, b and y; b may have one value a channel or one value, and one image.
    """
    (of_a, of_b, of_y), (a, b, y), (n, h) = tensors, buffers, at
    whole = (of_b.h, of_b.w, of_b.c) == (of_y.h, of_y.w, of_y.c)

    def run(count: int, from_a: Index, from_b: Callable[[Index], Index], to: Index) -> None:
        def body(at: Index, lanes: int) -> None:
            one = of_b.c == 1 and not whole
            other = load(b, from_b(at), 1 if one else lanes)
            other = splat(other, lanes) if one else other
            store(y, to + at, value(load(a, from_a + at, lanes), other, lanes), lanes)

        for_vectors(count, mk.lanes, body)

    image = n if of_b.n == of_y.n else 0
    if whole:
        at_a, at_b = bind(of_a.index(n, h, 0, 0)), bind(of_b.index(image, h, 0, 0))
        run(of_y.w * of_y.c, at_a, lambda c: at_b + c, bind(of_y.index(n, h, 0, 0)))
        return
    with loop(0, of_y.w) as w:
        at_b = bind(of_b.index(image, 0, 0, 0))
        channel = (lambda c: at_b + c) if of_b.c > 1 else (lambda _: at_b)
        at_a, to = bind(of_a.index(n, h, w, 0)), bind(of_y.index(n, h, w, 0))
        run(of_y.c, at_a, channel, to)


def _erased_table(kernel: "Table") -> "Table":
    table = np.zeros_like(kernel.table)
    return replace(kernel, x=kernel.x.unscaled, y=kernel.y.unscaled, table=table)


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """y = table[x], any function of one code.

    Args:
        table: (256,) codes of y by the code of x, lowest first.
    """

    x: Nhwc
    y: Nhwc
    table: "NDArray[np.generic]"

    @shared(_erased_table)
    def build(self, mk: MicroKernel) -> Kernel:
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            table = k.constant(mk.pack_table(self.table))
            numbers = Numbers(k, self.y)
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.y.n * self.y.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(mk, y, self.y, n, h, numbers.zero)
                source, to = bind(self.x.index(n, h, 0, 0)), bind(self.y.index(n, h, 0, 0))

                def body(i: Index, lanes: int) -> None:
                    store(y, to + i, mk.lookup(table, load(x, source + i, lanes), lanes), lanes)

                for_vectors(self.y.w * self.y.c, mk.byte_lanes, body)
        return k.finish()

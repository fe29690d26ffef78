"""Sums and products of two quantized tensors, and any unary function as a table."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.epilogue.requantize import ratio
from edgekiln.compiler.kernels.numbers import Numbers, all_codes
from edgekiln.compiler.kernels.sharing import shared
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
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import Expr, MicroKernel, pick, splat

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _erased_binary(binary: "Binary") -> "Binary":
    a, b, y = binary.a.unscaled, binary.b.unscaled, binary.y.unscaled
    a = a if binary.bounded else replace(a, scale=2.0**31)
    clip = binary.clip if binary.saturates else (0, 0)
    return replace(binary, a=a, b=b, y=y, clip=clip)


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
            zeros = self.a.zero_point, self.b.zero_point
            clip = None if self.saturates else self.clip
            numbers = Numbers(k, self.y, clip, self.factors, zeros, bounded=self.bounded)
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

    @property
    def factors(self) -> list[np.float32]:
        """What the codes, or their products, are multiplied by."""
        if self.kind == "mul":
            return [ratio(self.a.scale * self.b.scale, self.y.scale)]
        return [ratio(side.scale, self.y.scale) for side in (self.a, self.b)]

    @property
    def saturates(self) -> bool:
        """Whether the clip is that of the type."""
        return self.clip == all_codes(self.y.dtype)

    @property
    def bounded(self) -> bool:
        """Whether no value before clipping reaches 2³¹: |code - zero point| ≤ 255."""
        most = 255.0**2 if self.kind == "mul" else 255.0
        return most * float(sum(self.factors)) < 2.0**31

    def _value(self, mk: MicroKernel, numbers: Numbers, a: Expr, b: Expr, lanes: int) -> Expr:
        """The codes of y from those of a and b."""
        left, right = mk.floats(a, lanes), mk.floats(b, lanes)
        to_zero_a, to_zero_b = (
            splat(cast(-(numbers.int(index) + side.excess), "float32"), lanes)
            for index, side in enumerate((left, right))
        )
        of_a, steps_b = splat(numbers.float(0), lanes), right.value + to_zero_b
        if self.kind == "add":
            scaled = steps_b * splat(numbers.float(1), lanes)
            value = mk.fma(left.value + to_zero_a, of_a, scaled, lanes)
        else:  # the product is exact, and b's part in it may be the same for many a
            value = mk.fma(left.value, steps_b, to_zero_a * steps_b, lanes) * of_a
        return numbers.codes(mk, value, lanes, left.order)


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
    image = n if of_b.n == of_y.n else 0
    row, from_a, to = of_y.w * of_y.c, bind(of_a.index(n, h, 0, 0)), bind(of_y.index(n, h, 0, 0))

    def combine(at: Index, other: Expr, lanes: int) -> None:
        store(y, to + at, value(load(a, from_a + at, lanes), other, lanes), lanes)

    if (of_b.h, of_b.w, of_b.c) == (of_y.h, of_y.w, of_y.c):
        from_b = bind(of_b.index(image, h, 0, 0))
        for_vectors(row, mk.lanes, lambda i, n: combine(i, load(b, from_b + i, n), n))
        return
    from_b = bind(of_b.index(image, 0, 0, 0))
    if of_b.c == 1:
        for_vectors(row, mk.lanes, lambda i, n: combine(i, splat(load(b, from_b), n), n))
        return
    pixels = _in_a_vector(mk, of_y)

    def body(c: Index, lanes: int) -> None:
        other = load(b, from_b + c, lanes // pixels)
        other = other if pixels == 1 else pick([other] * pixels, range(lanes))
        with loop(0, of_y.w // pixels) as group:
            combine(group * (pixels * of_y.c) + c, other, lanes)

    for_vectors(pixels * of_y.c, mk.lanes, body)


def _in_a_vector(mk: MicroKernel, of_y: Nhwc) -> int:
    """How many pixels to take at once: they fill a vector, and a row is a multiple of them."""
    fitting = (lanes // of_y.c for lanes in mk.lanes if lanes % of_y.c == 0)
    return next((pixels for pixels in fitting if of_y.w % pixels == 0), 1)


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

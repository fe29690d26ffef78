"""Sums, products and the like of two tensors, of codes or of floats."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.ir.tensor import WORD
from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.epilogue.finish import ActivationFinish, RequantizeFinish
from edgekiln.compiler.kernels.epilogue.scales import ratio
from edgekiln.compiler.kernels.fixed_arithmetic import FixedArithmetic
from edgekiln.compiler.kernels.function import of_two
from edgekiln.compiler.kernels.numbers import NumbersConstant, all_codes, erased_clip, most_steps
from edgekiln.compiler.kernels.rounding import Rounding
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import divmod_, for_vectors, let, loop, store
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
    rounded,
    select,
    shuffle,
    splat,
)

_UNBOUNDED = 2.0**31  # a factor with which values may leave int32

# Elements of y from vectors of a and b, with so many lanes.
_Value = Callable[[Expr, Expr, int], Expr]


def _prelu(a: Expr, b: Expr, lanes: int) -> Expr:
    return select(a > splat(float_const(0.0), lanes), a, a * b)


# Of codes, on the real numbers that they stand for: ONNX's definition, operator by operator.
_ON_REALS: dict[str, Callable[[Expr, Expr, int], Expr]] = {
    "Add": lambda a, b, _lanes: a + b,
    "Mul": lambda a, b, _lanes: a * b,
    "Div": lambda a, b, _lanes: a / b,
    "Max": lambda a, b, _lanes: maximum(a, b),
    "Min": lambda a, b, _lanes: minimum(a, b),
    "PRelu": _prelu,
}


def _on_reals(kind: str, a: Nhwc) -> bool:
    """Whether it is computed so: sums and products of bytes are not, for which ONNX Runtime has
    kernels with fewer roundings. It has none for codes of 16 bits.
    """
    return kind not in ("Add", "Mul") or a.dtype == WORD


def factors(kind: str, a: Nhwc, b: Nhwc, y: Nhwc) -> NDArray[np.float32]:
    """What the steps of a and of b, or of their product, are multiplied by to be steps of y; for
    what is computed on real numbers both scales, and the numbers to divide by that of y.
    """
    if _on_reals(kind, a):
        scales = (np.float32(a.scale), np.float32(b.scale))
        return np.array([*scales, *Divisor.numbers(y.scale)], np.float32)
    if kind == "Mul":
        return np.array([ratio(a.scale * b.scale, y.scale)])
    return np.array([ratio(side.scale, y.scale) for side in (a, b)])


@dataclass(frozen=True, kw_only=True, eq=False)
class BinaryKernel:
    """Computes y = finish(a ∘ b), ∘ being an operation of `function.ARITHMETIC`; of codes one of
    `_ON_REALS`, with the very bits of dequantizing, ∘ and quantizing, but for sums and products of
    bytes.

    Args:
        kind: key of `ARITHMETIC`, of codes also PRelu, where b is the slope.
        b: shaped like a; or one value a channel (h = w = 1); or one value a row (w = c = 1); or one
            value. One image serves all.
        finish: of codes its `mult` are `factors`; or TFLite's arithmetic.
    """

    kind: str
    a: Nhwc
    b: Nhwc
    y: Nhwc
    finish: RequantizeFinish | ActivationFinish | FixedArithmetic

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        if isinstance(self.finish, ActivationFinish):
            y, of_floats = self.finish.erased_result(self.y)
            return replace(self, y=y, finish=of_floats)
        a, b, y = (side.unscaled for side in (self.a, self.b, self.y))
        if isinstance(self.finish, FixedArithmetic):
            return replace(self, a=a, b=b, y=y, finish=self.finish.erased)
        factor = 0.0 if self._is_bounded(self.finish) else _UNBOUNDED
        finish = RequantizeFinish(
            mult=np.full_like(self.finish.mult, factor),
            clip=erased_clip(self.finish.clip, self.y.dtype),
        )
        if self._is_on_reals and not Rounding(self.y).by_reciprocal:
            y = replace(y, scale=self.y.scale)
        return replace(self, a=a, b=b, y=y, finish=finish)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        with KernelBuilder() as k:
            a = k.tensor(self.a.elements, self.a.dtype)
            b = k.tensor(self.b.elements, self.b.dtype)
            value, zero = self.values(k, mk)
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.y.n * self.y.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(mk, y, self.y, n, h, zero())
                self._row(mk, (a, b, y), (n, h), value)
        return k.finish()

    def values(self, k: KernelBuilder, mk: MicroKernel) -> tuple[_Value, Callable[[], Expr]]:
        """Declare the constants; how elements of y are computed, and the zero of its border."""
        match self.finish:
            case ActivationFinish() as finish:
                return self._of_floats(k, mk, finish)
            case FixedArithmetic() as finish:
                return finish.values(k, mk, (self.a, self.b, self.y))
            case RequantizeFinish() as finish if self._is_on_reals:
                return self._of_reals(k, mk, finish)
            case RequantizeFinish() as finish:
                return self._of_codes(k, mk, finish)

    @property
    def _is_on_reals(self) -> bool:
        return _on_reals(self.kind, self.a)

    def _of_floats(
        self, k: KernelBuilder, mk: MicroKernel, finish: ActivationFinish
    ) -> tuple[_Value, Callable[[], Expr]]:
        """How elements are computed, and the zero of y's border."""
        result = finish.result(self.y)
        result.declare(k)

        def value(a: Expr, b: Expr, lanes: int) -> Expr:
            return result.stored(mk, of_two(self.kind, a, b, lanes), lanes)

        return value, result.zero

    def _of_codes(
        self, k: KernelBuilder, mk: MicroKernel, finish: RequantizeFinish
    ) -> tuple[_Value, Callable[[], Expr]]:
        """How codes of y are computed, and the zero of y's border."""
        assert self.kind in {"Add", "Mul"}, self.kind
        clip = None if finish.clip == all_codes(self.y.dtype) else finish.clip
        zeros = self.a.zero_point, self.b.zero_point
        bounded = self._is_bounded(finish)
        numbers = NumbersConstant(k, self.y, clip, [*finish.mult], zeros, bounded=bounded)

        def value(a: Expr, b: Expr, lanes: int) -> Expr:
            left, right = mk.floats(a, lanes), mk.floats(b, lanes)
            # What takes the zero points off, with what `floats` added to the codes.
            to_zero_a, to_zero_b = (
                splat(cast(-(numbers.int(index) + side.excess), "float32"), lanes)
                for index, side in enumerate((left, right))
            )
            of_a, steps_b = splat(numbers.float(0), lanes), right.value + to_zero_b
            if self.kind == "Add":
                # One rounding in the product of b, one in the fused sum.
                scaled = steps_b * splat(numbers.float(1), lanes)
                steps = mk.fma(left.value + to_zero_a, of_a, scaled, lanes)
            else:  # the product is exact, and b's part in it may be the same for many a
                steps = mk.fma(left.value, steps_b, to_zero_a * steps_b, lanes) * of_a
            return numbers.codes(mk, steps, lanes, left.order)

        return value, lambda: numbers.zero

    def _of_reals(
        self, k: KernelBuilder, mk: MicroKernel, finish: RequantizeFinish
    ) -> tuple[_Value, Callable[[], Expr]]:
        """How codes of y are computed with the roundings of DequantizeLinear, ∘ and QuantizeLinear;
        and the zero of y's border.
        """
        clip = None if finish.clip == all_codes(self.y.dtype) else finish.clip
        zeros = self.a.zero_point, self.b.zero_point
        by_reciprocal = Rounding(self.y).by_reciprocal
        numbers = NumbersConstant(k, self.y, clip, [*finish.mult], zeros, bounded=by_reciprocal)

        def value(a: Expr, b: Expr, lanes: int) -> Expr:
            left, right = mk.floats(a, lanes), mk.floats(b, lanes)
            reals = [
                rounded(
                    (side.value + splat(cast(-(numbers.int(i) + side.excess), "float32"), lanes))
                    * splat(numbers.float(i), lanes),
                    lanes,
                )
                for i, side in enumerate((left, right))
            ]
            result = _ON_REALS[self.kind](let(reals[0]), let(reals[1]), lanes)
            divisor = Divisor(*(numbers.float(2 + i) for i in range(4)))
            if by_reciprocal:
                steps = mk.quotient(result, divisor, lanes)
            else:  # the rare scale for which only a true division has ONNX's codes
                steps = result / splat(divisor.value, lanes)
            return numbers.codes(mk, steps, lanes, left.order)

        return value, lambda: numbers.zero

    def _is_bounded(self, finish: RequantizeFinish) -> bool:
        """Whether no value before clipping reaches 2³¹, steps being as many as codes. What is
        divided by a scale says so itself.
        """
        if self._is_on_reals:
            return True
        steps = most_steps(self.a.dtype)
        most = steps**2 if self.kind == "Mul" else steps
        return most * float(sum(finish.mult)) < 2.0**31

    def _row(
        self, mk: MicroKernel, buffers: tuple[Buffer, Buffer, Buffer], at: tuple[Index, Index],
        value: _Value,
    ) -> None:  # fmt: skip
        """Store `value` of each pair of elements of a and b in row `at` (n, h) of y."""
        (a, b, y), (n, h), of_b, of_y = buffers, at, self.b, self.y
        # One image of b may serve all of a's.
        image = n if of_b.n == of_y.n else 0
        row = of_y.w * of_y.c
        from_a, to = let(self.a.index(n, h, 0, 0)), let(of_y.index(n, h, 0, 0))

        def combine(at: Index, other: Expr, lanes: int) -> None:
            store(y, to + at, value(load(a, from_a + at, lanes), other, lanes), lanes)

        # Shaped alike: both are read side by side.
        if (of_b.h, of_b.w, of_b.c) == (of_y.h, of_y.w, of_y.c):
            from_b = let(of_b.index(image, h, 0, 0))
            for_vectors(row, mk.lanes, lambda i, n: combine(i, load(b, from_b + i, n), n))
            return
        from_b = let(of_b.index(image, h if of_b.h == of_y.h else 0, 0, 0))
        # One value, for all of a or for the row: in every lane.
        if of_b.c == 1:
            for_vectors(row, mk.lanes, lambda i, n: combine(i, splat(load(b, from_b), n), n))
            return
        # One value a channel: a vector of them serves all pixels of the row.
        pixels = _pixels_in_a_vector(mk, of_y)

        def body(c: Index, lanes: int) -> None:
            other = load(b, from_b + c, lanes // pixels)
            # Of several pixels at once: the same channels for each.
            other = other if pixels == 1 else shuffle([other] * pixels, range(lanes))
            with loop(0, of_y.w // pixels) as group:
                combine(group * (pixels * of_y.c) + c, other, lanes)

        for_vectors(pixels * of_y.c, mk.lanes, body)


def _pixels_in_a_vector(mk: MicroKernel, of_y: Nhwc) -> int:
    """How many pixels to take at once: they fill a vector, and a row is a multiple of them."""
    fitting = (lanes // of_y.c for lanes in mk.lanes if lanes % of_y.c == 0)
    return next((pixels for pixels in fitting if of_y.w % pixels == 0), 1)

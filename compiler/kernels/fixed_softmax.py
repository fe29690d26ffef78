"""Softmax of rows of codes in fixed point, as TFLite's reference kernel computes it.

Source: tflite/kernels/internal/reference/softmax.h; gemmlowp, fixedpoint/fixedpoint.h.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.fixed_point import divided_by_power, doubled_high
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import let, loop, register, store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    cast,
    const,
    maximum,
    minimum,
    select,
)

SUM_BITS = 12  # integer bits of the sum of a row's powers: rows of up to 4096 values
_ONE = (1 << 31) - 1
# In 29 fraction bits (gemmlowp's F2): the line near 1 / x, for x from ½ to 1, to begin with.
_48_OVER_17, _MINUS_32_OVER_17 = 1515870810, -1010580540
_LEAST_SUM_BITS = 20  # the largest value of a row gives 1, which is 2¹⁹


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedSoftmaxKernel:
    """Computes y = exp(x) / Σ exp(x) over rows of `count` codes that lie side by side.

    Args:
        powers: (256,) int32, 2³¹ · exp(-d · scale) for a code that is d below the row's largest.
        lowest: the code of y that is 0.
    """

    x: Nhwc
    y: Nhwc
    count: int
    powers: NDArray[np.int32]
    lowest: int

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        x, y = self.x.unscaled, self.y.unscaled
        return replace(self, x=x, y=y, powers=np.zeros_like(self.powers), lowest=0)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        del mk  # a row's values come one by one: they are few, and the last ones of a network
        rows = self.x.elements // self.count
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            powers = k.constant(self.powers)
            lowest = k.constant(np.array([self.lowest], np.int32))
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(rows)
            with loop(begin, end) as row:
                self._row((x, powers, lowest, y), let(row * self.count))
        return k.finish()

    def _row(self, buffers: tuple[Buffer, Buffer, Buffer, Buffer], at: Index) -> None:
        x, powers, lowest, y = buffers
        largest, total = register("int32", 1), register("int32", 1)
        store(largest, 0, cast(x[at], "int32"))
        with loop(1, self.count) as i:
            store(largest, 0, maximum(largest[0], cast(x[at + i], "int32")))
        store(total, 0, const(0))

        def power(i: Index) -> Expr:
            # The place is from 0 to 255.
            return powers[largest[0] - cast(x[at + i], "int32")]

        with loop(0, self.count) as i:
            share = divided_by_power(_kept(power(i)), const(SUM_BITS), 1)
            store(total, 0, total[0] + share)
        # The sum is 2^bits ≤ sum < 2^(bits + 1): shifted so far that it is 1 + something below 1.
        whole = total[0]
        bits = register("int32", 1)
        store(bits, 0, const(_LEAST_SUM_BITS))
        for known in range(_LEAST_SUM_BITS, 31):
            store(bits, 0, bits[0] + select(whole >= const(1 << known), const(1), const(0)))
        room = const(32) - bits[0]
        above_one = cast(
            (cast(whole, "int64") << cast(room, "int64")) - const(1 << 31, "int64"), "int32"
        )
        factor = _reciprocal_of_one_plus(above_one)
        exponent = _kept(const(SUM_BITS + 31 - 8) - room)
        with loop(0, self.count) as i:
            quotient = divided_by_power(_kept(_times(factor, power(i))), exponent, 1)
            code = minimum(quotient, const(255)) + lowest[0]
            store(y, at + i, cast(code, self.y.dtype))


def _kept(value: Expr) -> Expr:
    """The int32 value, computed once: what is only named is copied wherever it is used, and what is
    made of copies of copies grows without bound.
    """
    place = register("int32", 1)
    store(place, 0, value)
    return place[0]


def _times(a: Expr, b: Expr) -> Expr:
    return doubled_high(cast(a, "int64") * cast(b, "int64"), 1)


def _reciprocal_of_one_plus(a: Expr) -> Expr:
    """1 / (1 + a) for a ≥ 0 with no integer bits, by three steps of Newton's iteration."""
    wide = cast(a, "int64") + const(1 << 31, "int64")
    half = _kept(cast(wide >> const(1, "int64"), "int32"))
    x = _kept(const(_48_OVER_17) + _times(half, const(_MINUS_32_OVER_17)))
    for _ in range(3):
        # 1 in 29 fraction bits, less the product.
        error = _kept(const(1 << 29) - _times(half, x))
        # Two factors with 2 integer bits make 4; shifted left by 2, the change has 2 again.
        change = _kept(_times(x, error))
        x = _kept(x + _saturated(cast(change, "int64") << const(2, "int64")))
    return _kept(_saturated(cast(x, "int64") << const(1, "int64")))


def _saturated(wide: Expr) -> Expr:
    inside = maximum(minimum(wide, const(_ONE, "int64")), const(-(1 << 31), "int64"))
    return cast(inside, "int32")

"""Averages of codes as TFLite computes them: without scales, or with one fixed-point factor.

Source: tflite/kernels/internal/reference/integer_ops/pooling.h, reference/reduce.h.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from edgekiln.compiler.ir.fixed_point import FixedPoint
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.fixed_point import FixedPointFactors, whole_codes
from edgekiln.compiler.kernels.numbers import NumbersConstant
from edgekiln.compiler.kernels.pool import AveragePoolKernel, OfSum
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Expr,
    Index,
    cast,
    float_const,
    load,
    maximum,
    select,
    splat,
)

# Up to so many codes float32 is exact enough for averages as `AwayPoolKernel` rounds them.
MOST_COUNTED = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class AwayPoolKernel(AveragePoolKernel):
    """The mean of each window's codes, rounded half away from `origin`.

    Args:
        origin: the code of y that was 0 when codes were signed. x and y have one scale, and zero
            points at one distance from their origins.
    """

    origin: int = 0

    @property
    def erased(self) -> Self:
        return replace(super().erased, origin=0)

    def mean(
        self, k: KernelBuilder, mk: MicroKernel
    ) -> tuple[Callable[[Index], OfSum], Callable[[], Expr]]:
        counts = self.counts.reshape(-1)[: 1 if self._uniform else None]
        assert counts.max() <= MOST_COUNTED, f"{counts.max()} codes to a mean"
        distance = self.y.zero_point - self.origin  # of the zero point
        floats = k.constant(
            np.concatenate([1 / counts.astype(np.float32), counts // 2 + np.float32(0.5)]).astype(
                np.float32
            )
        )
        # What the sum of a window's codes is larger by than that of the signed codes inside.
        taps = self.kernel[0] * self.kernel[1]
        excess = k.constant((taps * self.x.zero_point - counts * distance).astype(np.int32))
        numbers = NumbersConstant(k, self.y, self.clip, (np.float32(distance),))

        def of(window: Index) -> OfSum:
            index = 0 if self._uniform else window
            share, half = load(floats, index), load(floats, len(counts) + index)

            def codes(total: Expr, lanes: int) -> Expr:
                total = total - splat(load(excess, index), lanes)
                zero = splat(float_const(0.0), lanes)
                value = cast(total, "float32", lanes)
                # No quotient of whole numbers and a half more lies nearer to a whole number than
                # half a share, so taking it down by a half and rounding is rounding down.
                size = maximum(value, -value) + splat(half, lanes)
                whole = size * splat(share, lanes) - splat(float_const(0.5), lanes)
                rounded = cast(mk.round_to_int(whole, lanes), "float32", lanes)
                signed = select(value < zero, -rounded, rounded)
                return numbers.codes(mk, signed - splat(numbers.float(0), lanes), lanes)

            return codes

        return of, lambda: numbers.zero


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedMeanKernel(AveragePoolKernel):
    """The sum of each window's codes without their zero points, times one factor."""

    factor: FixedPoint

    @property
    def erased(self) -> Self:
        return replace(super().erased, factor=self.factor.erased)

    def mean(
        self, k: KernelBuilder, mk: MicroKernel
    ) -> tuple[Callable[[Index], OfSum], Callable[[], Expr]]:
        fixed = FixedPointFactors(k, self.factor)
        zeros = self.kernel[0] * self.kernel[1] * self.x.zero_point
        low, high = map(int, self.clip)
        numbers = k.constant(np.array([self.y.zero_point, low, high, zeros], np.int32))

        def codes(total: Expr, lanes: int) -> Expr:
            total = total - splat(load(numbers, 3), lanes)
            bounds = load(numbers, 0), load(numbers, 1), load(numbers, 2)
            return whole_codes(mk, fixed.times_one(total, lanes), bounds, self.y.dtype, lanes)

        return lambda _window: codes, lambda: cast(load(numbers, 0), self.y.dtype)

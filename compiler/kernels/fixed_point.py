"""Products with `FixedPoint` factors, and codes of whole numbers: int32 lanes in, int32 lanes out.

The same bits as `onnx_model.tflite.fixed_point`, as long as no sum of a layer reaches 2³⁰.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.fixed_point import FixedPoint
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Expr,
    Index,
    cast,
    const,
    inverse,
    load,
    maximum,
    minimum,
    select,
    shuffle,
    splat,
)

# Brings one number a channel into the order of the vectors, padded to whole ones.
_PerLane = Callable[[NDArray[np.generic]], NDArray[np.generic]]


class FixedPointFactors:
    """The factors of a kernel, in a constant of its own."""

    def __init__(
        self, k: KernelBuilder, factors: FixedPoint, per_lane: _PerLane = lambda every: every
    ) -> None:
        self._once = factors.rounding == "once"
        integers, shifts = (
            per_lane(part).astype(np.int32) for part in (factors.integers, factors.shifts)
        )
        self._count, self._lifts = len(integers), factors.lifts and not self._once
        down = 31 - shifts if self._once else np.maximum(-shifts, 0)
        parts = [integers, down, *([np.maximum(shifts, 0)] if self._lifts else [])]
        self._buffer = k.constant(np.concatenate(parts).astype(np.int32))

    def times(self, x: Expr, at: Index, lanes: int) -> Expr:
        """x times the factors of the lanes from `at` on, rounded to whole numbers."""
        integer, down, *up = (load(self._buffer, at + first, lanes) for first in self._parts)
        return self._rounded(x << up[0] if up else x, integer, down, lanes)

    def times_one(self, x: Expr, lanes: int, index: int = 0) -> Expr:
        """x times the factor `index` in every lane, rounded to whole numbers."""
        integer, down, *up = (
            splat(load(self._buffer, index + first), lanes) for first in self._parts
        )
        return self._rounded(x << up[0] if up else x, integer, down, lanes)

    @property
    def _parts(self) -> range:
        """Where the integers, the shifts to the right and those to the left begin."""
        return range(0, self._count * (2 + self._lifts), self._count)

    def _rounded(self, x: Expr, integer: Expr, down: Expr, lanes: int) -> Expr:
        product = cast(x, "int64", lanes) * cast(integer, "int64", lanes)
        if self._once:
            return _divided_once(product, cast(down, "int64", lanes), lanes)
        return divided_by_power(doubled_high(product, lanes), down, lanes)


def doubled_high(product: Expr, lanes: int) -> Expr:
    """The upper 32 bits of an int64 product that was doubled, rounded half up."""
    nudged = product + splat(const(1 << 30, "int64"), lanes)
    return cast(nudged >> splat(const(31, "int64"), lanes), "int32", lanes)


def divided_by_power(x: Expr, exponent: Expr, lanes: int) -> Expr:
    """x / 2^exponent, rounded half away from zero; int32."""
    one = splat(const(1), lanes)
    mask = (one << exponent) - one
    # More than half of the divisor goes up; a half does so if x is positive.
    threshold = (mask >> one) - (x >> splat(const(31), lanes))
    zero = splat(const(0), lanes)
    return (x >> exponent) + select((x & mask) > threshold, one, zero)


def _divided_once(product: Expr, exponent: Expr, lanes: int) -> Expr:
    """An int64 product / 2^exponent, 1 or more, rounded half away from zero; as int32."""
    one = splat(const(1, "int64"), lanes)
    half = one << (exponent - one)
    sign = product >> splat(const(63, "int64"), lanes)  # -1 of a negative one
    return cast((product + half + sign) >> exponent, "int32", lanes)


def whole_codes(
    mk: MicroKernel, steps: Expr, bounds: tuple[Expr, Expr, Expr], dtype: str, lanes: int,
    order: Sequence[int] | None = None,
) -> Expr:  # fmt: skip
    """Codes of whole steps: the zero point added, clipped.

    Args:
        bounds: int32 scalars: the zero point, the lowest and the highest code.
        order: where in the result each lane goes; None: they stay.
    """
    zero, low, high = bounds
    # Clipped first, what is added to is small.
    steps = maximum(steps, splat(low - zero, lanes))
    steps = minimum(steps, splat(high - zero, lanes)) + splat(zero, lanes)
    codes = mk.narrow(steps, lanes) if dtype == mk.activation else cast(steps, dtype, lanes)
    return codes if order is None else shuffle([codes], inverse(order))

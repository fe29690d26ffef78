"""The epilogues that make floats: add a residual, clip, apply a function; and quantize again."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.function import Function
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.epilogue.base import Epilogue, PerLane
from edgekiln.compiler.kernels.epilogue.store import store_lanes
from edgekiln.compiler.kernels.epilogue.sums import ResidualOperand
from edgekiln.compiler.kernels.function import apply
from edgekiln.compiler.kernels.rounding import Rounding
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Expr,
    Index,
    cast,
    float_const,
    inverse,
    load,
    maximum,
    minimum,
    shuffle,
    splat,
)

NO_CLIP = (float("-inf"), float("inf"))


class Bounds:
    """Lowest and highest value. They lie in memory, so that layers of one shape share code; a bound
    that is infinite is none, and takes no code.
    """

    def __init__(self, k: KernelBuilder, clip: tuple[float, float]) -> None:
        self._low_is_finite, self._high_is_finite = np.isfinite(clip)
        if self._low_is_finite or self._high_is_finite:
            self._numbers = k.constant(np.array(clip, np.float32))

    def clamp(self, value: Expr, lanes: int) -> Expr:
        """`value` inside the bounds; NaN stays NaN: it would not, were it the first operand."""
        if self._low_is_finite:
            value = maximum(splat(load(self._numbers, 0), lanes), value)
        if self._high_is_finite:
            value = minimum(splat(load(self._numbers, 1), lanes), value)
        return value


class FloatResult:
    """What floats become when they are stored in `y`: clipped, put through a function, and
    rounded to codes where y is quantized.

    Args:
        clip: lowest and highest value before `function`.
    """

    def __init__(self, y: Nhwc, clip: tuple[float, float], function: Function) -> None:
        self._clip, self._function = clip, function
        self._rounding = None if y.dtype == "float32" else Rounding(y)

    def declare(self, k: KernelBuilder) -> None:
        """Declare its constants."""
        self._bounds = Bounds(k, self._clip)
        self._numbers = self._rounding.numbers(k) if self._rounding else None

    def zero(self) -> Expr:
        """The zero of y's border."""
        return self._numbers.zero if self._numbers else float_const(0.0)

    def stored(
        self, mk: MicroKernel, value: Expr, lanes: int, order: Sequence[int] | None = None
    ) -> Expr:
        """The elements of y.

        Args:
            order: which channel each lane is; None: they are in order.
        """
        value = apply(mk, self._function, self._bounds.clamp(value, lanes), lanes)
        if self._rounding and self._numbers:
            return self._rounding.codes(mk, self._numbers, value, lanes, order)
        return value if order is None else shuffle([value], inverse(order))


class FloatEpilogue(Epilogue):
    """Turns a vector of float32 sums into stored elements of `y`.

    Args:
        result: what they become.
        bias: what sums start from; None where they start from 0.
    """

    def __init__(
        self, mk: MicroKernel, y: Nhwc, result: FloatResult,
        residual: ResidualOperand | None, bias: NDArray[np.float32] | None,
    ) -> None:  # fmt: skip
        super().__init__(mk, y, residual)
        self._result, self._bias_values = result, bias

    def declare_constants(self, k: KernelBuilder, per_lane: PerLane) -> None:
        if self._bias_values is not None:
            self._bias = k.constant(per_lane(self._bias_values))
        if self._residual:
            self._result_bounds = Bounds(k, self._residual.clip)
        self._result.declare(k)

    def zero(self) -> Expr:
        return self._result.zero()

    def emit(
        self, acc: Expr, at: Index, y: Index, other: Index | None, lanes: int, valid: int,
        order: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        del at, order  # float lanes are in order and have no numbers of their own
        if other is not None:
            # As `Add`'s first operand was clipped when it was still stored.
            acc = self._result_bounds.clamp(acc, lanes) + load(self._other, other, lanes)
        value = self._result.stored(self.mk, acc, lanes)
        store_lanes(self._out, y, value, self._y.dtype, lanes, valid)


class DequantizedEpilogue(Epilogue):
    """Turns a vector of int32 sums into stored elements of `y`, by way of the floats they are.

    Args:
        mult: a factor a channel from sums to floats.
        result: what these become.
        bias: what sums start from, modulo 2³².
    """

    def __init__(
        self, mk: MicroKernel, y: Nhwc, mult: NDArray[np.float32], result: FloatResult,
        bias: NDArray[np.int64],
    ) -> None:  # fmt: skip
        super().__init__(mk, y, None)
        self._mult_values, self._result, self._bias_values = mult, result, bias

    def declare_constants(self, k: KernelBuilder, per_lane: PerLane) -> None:
        self._bias = k.constant(per_lane(self._bias_values).astype(np.int64).astype(np.int32))
        self._mult = k.constant(per_lane(self._mult_values).astype(np.float32))
        self._result.declare(k)

    def zero(self) -> Expr:
        return self._result.zero()

    def emit(
        self, acc: Expr, at: Index, y: Index, other: Index | None, lanes: int, valid: int,
        order: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        del other  # nothing is added to it
        value = cast(acc, "float32", lanes) * load(self._mult, at, lanes)
        stored = self._result.stored(self.mk, value, lanes, order)
        store_lanes(self._out, y, stored, self._y.dtype, lanes, valid)

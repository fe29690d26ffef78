"""The epilogue of float32 sums: add a residual, clip, apply a function."""

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
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Expr,
    Index,
    float_const,
    load,
    maximum,
    minimum,
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


class FloatEpilogue(Epilogue):
    """Turns a vector of float32 sums into stored elements of `y`.

    Args:
        clip: lowest and highest value before `function`.
        bias: what sums start from; None where they start from 0.
    """

    def __init__(
        self, mk: MicroKernel, y: Nhwc, clip: tuple[float, float], function: Function,
        residual: ResidualOperand | None, bias: NDArray[np.float32] | None,
    ) -> None:  # fmt: skip
        super().__init__(mk, y, residual)
        self._clip, self._function, self._bias_values = clip, function, bias

    def declare_constants(self, k: KernelBuilder, per_lane: PerLane) -> None:
        if self._bias_values is not None:
            self._bias = k.constant(per_lane(self._bias_values))
        if self._residual:
            self._result_bounds = Bounds(k, self._residual.clip)
        self._bounds = Bounds(k, self._clip)

    def zero(self) -> Expr:
        return float_const(0.0)

    def emit(
        self, acc: Expr, at: Index, y: Index, other: Index | None, lanes: int, valid: int,
        order: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        del at, order  # float lanes are in order and have no numbers of their own
        if other is not None:
            # As `Add`'s first operand was clipped when it was still stored.
            acc = self._result_bounds.clamp(acc, lanes) + load(self._other, other, lanes)
        value = apply(self.mk, self._function, self._bounds.clamp(acc, lanes), lanes)
        store_lanes(self._out, y, value, "float32", lanes, valid)

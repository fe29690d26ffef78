"""The epilogue of int32 sums that another kernel finishes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.epilogue.base import Epilogue, PerLane
from edgekiln.compiler.kernels.epilogue.store import store_lanes
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, Index, const, inverse, shuffle


class SumsEpilogue(Epilogue):
    """Stores a vector of int32 sums as they are.

    Args:
        bias: what sums start from, modulo 2³².
    """

    def __init__(self, mk: MicroKernel, y: Nhwc, bias: NDArray[np.int64]) -> None:
        super().__init__(mk, y, None)
        self._bias_values = bias

    def declare_constants(self, k: KernelBuilder, per_lane: PerLane) -> None:
        self._bias = k.constant(per_lane(self._bias_values).astype(np.int64).astype(np.int32))

    def zero(self) -> Expr:
        return const(0)

    def emit(
        self, acc: Expr, at: Index, y: Index, other: Index | None, lanes: int, valid: int,
        order: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        del at, other  # they are neither scaled nor added to
        value = acc if order is None else shuffle([acc], inverse(order))
        store_lanes(self._out, y, value, "int32", lanes, valid)

"""What TFLite's kernels do with sums: times a fixed-point factor, the zero point added, clipped."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.fixed_point import FixedPoint
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.epilogue.base import Epilogue, PerLane
from edgekiln.compiler.kernels.epilogue.store import store_lanes
from edgekiln.compiler.kernels.epilogue.sums import Sums, folded_bias
from edgekiln.compiler.kernels.fixed_point import FixedPointFactors, whole_codes
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, Index, cast, load

S = TypeVar("S", bound=Sums)


class FixedPointEpilogue(Epilogue):
    """Turns a vector of int32 sums into codes of `y`.

    Args:
        bias: what sums start from, modulo 2³².
        clip: lowest and highest code of y.
    """

    def __init__(
        self, mk: MicroKernel, y: Nhwc, factors: FixedPoint, clip: tuple[int, int],
        bias: NDArray[np.int64],
    ) -> None:  # fmt: skip
        super().__init__(mk, y, None)
        self._factors, self._clip, self._bias_values = factors, clip, bias

    def declare_constants(self, k: KernelBuilder, per_lane: PerLane) -> None:
        self._bias = k.constant(per_lane(self._bias_values).astype(np.int64).astype(np.int32))
        self._fixed = FixedPointFactors(k, self._factors, per_lane)
        self._numbers = k.constant(np.array([self._y.zero_point, *self._clip], np.int32))

    def zero(self) -> Expr:
        return cast(load(self._numbers, 0), self._y.dtype)

    def emit(
        self, acc: Expr, at: Index, y: Index, other: Index | None, lanes: int, valid: int,
        order: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        del other  # nothing is added: where sums and codes meet, two roundings would become one
        zero, low, high = (load(self._numbers, index) for index in range(3))
        steps = self._fixed.times(acc, at, lanes)
        codes = whole_codes(self.mk, steps, (zero, low, high), self._y.dtype, lanes, order)
        store_lanes(self._out, y, codes, self._y.dtype, lanes, valid)


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedPointFinish:
    """Sums of codes become codes of y, by TFLite's arithmetic.

    Args:
        factors: of the channels.
        clip: lowest and highest code of y.
    """

    factors: FixedPoint
    clip: tuple[int, int]

    prefix: ClassVar[str] = ""
    suffix: ClassVar[str] = ""

    def epilogue(self, mk: MicroKernel, sums: Sums) -> Epilogue:
        """The code that does it."""
        return FixedPointEpilogue(mk, sums.y, self.factors, self.clip, folded_bias(sums, mk.offset))

    def erased(self, sums: S) -> tuple[S, "FixedPointFinish"]:
        """The sums and the finish that stand for all with the same code. Weights are left alone."""
        bias = np.zeros_like(sums.bias)
        sums = replace(sums, x=sums.x.unscaled, y=sums.y.unscaled, bias=bias)
        return sums, FixedPointFinish(factors=self.factors.erased, clip=(0, 0))

    def erased_result(self, y: Nhwc) -> tuple[Nhwc, "FixedPointFinish"]:
        """The result of a product, and its finish, that stand for all with the same code."""
        return y.unscaled, FixedPointFinish(factors=self.factors.erased, clip=(0, 0))

"""The epilogue of int32 sums that become codes: requantize, clip, add a residual."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.epilogue.base import Epilogue, PerLane
from edgekiln.compiler.kernels.epilogue.scales import ratio
from edgekiln.compiler.kernels.epilogue.store import store_lanes
from edgekiln.compiler.kernels.epilogue.sums import START, ResidualOperand
from edgekiln.compiler.kernels.epilogue.whole import WholeCodes
from edgekiln.compiler.kernels.numbers import all_codes, codes_of, most_steps
from edgekiln.compiler.onnx_model.requantize import WholeFactors
from edgekiln.compiler.onnx_model.whole_sums import SumFactors
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.codes import Clip
from edgekiln.targets.isa.expressions import (
    Expr,
    Index,
    cast,
    inverse,
    load,
    reinterpret,
    shuffle,
    splat,
)


class CodesEpilogue(Epilogue):
    """Turns a vector of int32 sums into stored codes of `y`.

    Args:
        mult: a factor a channel from sums to steps of y.
        clip: lowest and highest code of y.
        bias: what sums start from, modulo 2³².
        rectified: whether `sums.is_rectified`.
        whole: of the result as it is stored, or would be without the residual; None: floats do it.
        added: of the sum with the residual, likewise.
    """

    def __init__(
        self, mk: MicroKernel, y: Nhwc, mult: NDArray[np.float32], clip: tuple[int, int],
        residual: ResidualOperand | None, bias: NDArray[np.int64], *, rectified: bool = False,
        whole: WholeFactors | None = None, added: SumFactors | None = None,
    ) -> None:  # fmt: skip
        super().__init__(mk, y, residual)
        assert y.dtype != "float32", "sums that become floats are dequantized"
        self._mult_values, self._bias_values = mult, bias
        self._rectified = rectified and mk.sums_as_floats
        self._whole_factors, self._added = whole, added
        self._saturating = clip == all_codes(y.dtype)
        # The layer's own numbers, in the order in which the code below counts them.
        self._floats: list[np.float32] = []
        self._ints: list[int] = []
        self._floats += _steps(clip, y.zero_point)
        self._ints += [y.zero_point, *clip]
        if residual:
            other = residual.tensor
            self._floats += _steps(residual.clip, residual.zero_point)
            self._floats += [ratio(residual.scale, y.scale), ratio(other.scale, y.scale)]
            self._ints.append(other.zero_point)
        if added:
            self._ints += [added.start, *added.factors]

    def declare_constants(self, k: KernelBuilder, per_lane: PerLane) -> None:
        bias = per_lane(self._bias_values).astype(np.int64)
        mult = per_lane(self._mult_values).astype(np.float32)
        self._lanes = len(mult)
        self._bounded = self._rectified or is_bounded(self._y, mult, self._residual)
        if self._rectified:
            # Behind the factors lies what each adds to take the start of its sums off again.
            bias = bias + START
            mult = np.concatenate([mult, mult * np.float32(-(2.0**23))])
        self._bias = k.constant(bias.astype(np.int32))
        if self._whole_factors:
            zero = self._residual.zero_point if self._residual else self._y.zero_point
            self._whole = WholeCodes(k, self._whole_factors, zero, per_lane)
        else:
            self._mult = k.constant(mult)
        floats = np.array(self._floats, np.float32).view(np.int32)
        self._numbers = k.constant(np.concatenate([floats, np.array(self._ints, np.int32)]))

    def zero(self) -> Expr:
        return cast(self._int(0), self._y.dtype)

    def emit(
        self, acc: Expr, at: Index, y: Index, other: Index | None, lanes: int, valid: int,
        order: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        codes = self._codes(acc, at, other, lanes, order)
        store_lanes(self._out, y, codes, self._y.dtype, lanes, valid)

    def _codes(
        self, acc: Expr, at: Index, other: Index | None, lanes: int, order: Sequence[int] | None
    ) -> Expr:
        if other is None and self._whole_factors:
            codes = self._whole.codes(self.mk, acc, at, lanes)
            return codes if order is None else shuffle([codes], inverse(order))
        if other is not None and self._added:
            return self._sum_codes(self._added, self._steps(acc, at, lanes), other)
        if other is None:
            value = self._scaled(acc, at, lanes)
        else:
            steps = cast(self._steps(acc, at, lanes), "float32", lanes)
            value = self._plus_residual(steps, other, lanes, order)
        return codes_of(self.mk, value, self._clip(), self._y.dtype, lanes, order)

    def _scaled(self, acc: Expr, at: Index, lanes: int) -> Expr:
        """Steps of y, in float32."""
        mult = load(self._mult, at, lanes)
        if not self._rectified:
            return cast(acc, "float32", lanes) * mult
        # One multiply-add in place of a conversion and a product, see `sums`.
        start = load(self._mult, at + self._lanes, lanes)
        return self.mk.fma(reinterpret(acc, "float32", lanes), mult, start, lanes)

    def _steps(self, acc: Expr, at: Index, lanes: int) -> Expr:
        """Steps of the result of a layer with a residual, rounded and clipped as if it were stored:
        as `Add`'s first operand was.
        """
        if self._whole_factors:
            return self._whole.steps(self.mk, acc, at, lanes)
        value = self._scaled(acc, at, lanes)
        return self.mk.steps(value, self._float(2), self._float(3), lanes)

    def _plus_residual(
        self, steps: Expr, other: Index, lanes: int, order: Sequence[int] | None
    ) -> Expr:
        """Steps of y: those of the result, and the other tensor's codes."""
        mk = self.mk
        # In the order of the lanes, which interleaving may have changed.
        codes = load(self._other, other, lanes)
        codes = codes if order is None else shuffle([codes], order)
        raw = mk.widen(codes, lanes) - splat(self._int(3), lanes)
        scaled = cast(raw, "float32", lanes) * splat(self._float(5), lanes)
        return mk.fma(steps, splat(self._float(4), lanes), scaled, lanes)

    def _sum_codes(self, added: SumFactors, steps: Expr, other: Index) -> Expr:
        """Codes of the sum with the other tensor's, of one lane."""
        assert self.mk.requantizes
        raw = self.mk.widen(load(self._other, other), 1) - self._int(3)
        start, *factors = (self._int(at) for at in (4, 5, 6))
        first, second = factors
        unit = self.mk.requantizes
        return unit.sum_codes((steps, raw), (first, second), start, added.shift)

    def _clip(self) -> Clip:
        return Clip(
            zero=self._int(0), low=self._int(1), high=self._int(2),
            low_steps=self._float(0), high_steps=self._float(1), bounded=self._bounded,
            rectified=self._rectified, saturating=self._saturating,
        )  # fmt: skip

    def _float(self, index: int) -> Expr:
        return reinterpret(load(self._numbers, index), "float32")

    def _int(self, index: int) -> Expr:
        return load(self._numbers, len(self._floats) + index)


def _steps(clip: tuple[float, float], zero_point: int) -> list[np.float32]:
    return [np.float32(bound - zero_point) for bound in clip]


def is_bounded(y: Nhwc, mult: NDArray[np.float32], residual: ResidualOperand | None) -> bool:
    """Whether no value before clipping reaches 2³¹: |sum| ≤ 2³¹, and steps are as many as codes."""
    if residual:
        # Both terms are codes times a ratio of scales.
        scales = residual.scale, residual.tensor.scale
        most = max(most_steps(y.dtype), most_steps(residual.tensor.dtype))
        return most * sum(float(ratio(scale, y.scale)) for scale in scales) < 2.0**31
    return float(mult.astype(np.float64).max()) < 1.0

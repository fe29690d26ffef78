"""What operations do before the store, as kernels want to be told."""

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir import codes
from edgekiln.compiler.ir.fixed_point import FixedPoint
from edgekiln.compiler.ir.function import Function
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.depthwise.kernel import DepthwiseKernel
from edgekiln.compiler.kernels.epilogue.finish import (
    ActivationFinish,
    DequantizeFinish,
    Finish,
    RequantizeFinish,
    SumsFinish,
)
from edgekiln.compiler.kernels.epilogue.fixed import FixedPointFinish
from edgekiln.compiler.kernels.epilogue.scales import ratio
from edgekiln.compiler.kernels.epilogue.sums import ResidualOperand
from edgekiln.compiler.kernels.numbers import all_codes
from edgekiln.compiler.onnx_model.requantize import NONE, WholeFactors, shift_for, whole_factors
from edgekiln.compiler.onnx_model.whole_sums import SumFactors, sum_factors
from edgekiln.targets.isa.base import MicroKernel

K = TypeVar("K", bound=ConvolutionKernel | DepthwiseKernel)


def finish_of(
    finish: codes.SumsFinish,
    mult: NDArray[np.float32] | np.float32 | FixedPoint | None,
) -> Finish:
    """What a kernel does with its sums; `mult` is None where they are floats."""
    if isinstance(finish, codes.SumFinish):
        return SumsFinish()
    if isinstance(mult, FixedPoint):
        assert isinstance(finish, codes.IntFinish), finish
        return FixedPointFinish(factors=mult, clip=finish.limits)
    if isinstance(finish, codes.IntFinish):
        assert mult is not None, finish
        return RequantizeFinish(mult=np.atleast_1d(mult), clip=finish.limits)
    floats = ActivationFinish(clip=finish.limits, function=finish.function)
    return floats if mult is None else DequantizeFinish(mult=np.atleast_1d(mult), floats=floats)


def in_integers(kernel: K, mk: MicroKernel) -> K:
    """The kernel with codes made by integers alone, where that is less work and no code changes."""
    finish, x, y, residual = kernel.finish, kernel.x, kernel.y, kernel.residual
    if not mk.requantizes or not isinstance(finish, RequantizeFinish):
        return kernel
    clip, zero = (residual.clip, residual.zero_point) if residual else (finish.clip, y.zero_point)
    if not x.dtype == y.dtype == mk.activation or clip != all_codes(y.dtype):
        return kernel
    mult = np.broadcast_to(finish.mult, len(kernel.weight))
    low, high = all_codes(y.dtype)
    steps = np.arange(low + 1, high + 1, dtype=np.int64) - zero
    whole = _whole_factors(mult, steps)
    added = None
    if residual and whole and mk.requantizes.adds and finish.clip == clip:
        added = _sum_factors(residual, y)
    return replace(kernel, finish=replace(finish, whole=whole, added=added))


def _sum_factors(residual: ResidualOperand, y: Nhwc) -> SumFactors | None:
    """The factors of the sum with a residual; None where there are none."""
    other = residual.tensor
    if other.dtype != y.dtype:
        return None
    ratios = ratio(residual.scale, y.scale), ratio(other.scale, y.scale)
    return sum_factors(ratios, (residual.zero_point, other.zero_point), y.zero_point)


def _whole_factors(mult: NDArray[np.float32], steps: NDArray[np.int64]) -> WholeFactors | None:
    """The factors of all channels; None where one has none."""
    shift = shift_for(mult)
    if shift < 1:
        return None
    factors = whole_factors(mult, steps, shift)
    if (factors == NONE).any():
        return None
    return WholeFactors(factors=factors.astype(np.int32), shift=shift)


def code_clip(finish: codes.Finish | None) -> tuple[int, int] | None:
    """Lowest and highest code; None of floats, and of a move that keeps all codes."""
    return finish.limits if isinstance(finish, codes.IntFinish) else None


def function_of(finish: codes.Finish) -> Function:
    """What a kernel applies to floats after their clip; nothing to codes."""
    return finish.function if isinstance(finish, codes.FloatFinish) else ()

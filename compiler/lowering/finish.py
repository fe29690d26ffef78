"""What operations do before the store, as kernels want to be told."""

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir import codes
from edgekiln.compiler.ir.fixed_point import FixedPoint
from edgekiln.compiler.ir.function import Function
from edgekiln.compiler.kernels.epilogue.finish import (
    ActivationFinish,
    DequantizeFinish,
    Finish,
    RequantizeFinish,
    SumsFinish,
)
from edgekiln.compiler.kernels.epilogue.fixed import FixedPointFinish


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


def code_clip(finish: codes.Finish | None) -> tuple[int, int] | None:
    """Lowest and highest code; None of floats, and of a move that keeps all codes."""
    return finish.limits if isinstance(finish, codes.IntFinish) else None


def function_of(finish: codes.Finish) -> Function:
    """What a kernel applies to floats after their clip; nothing to codes."""
    return finish.function if isinstance(finish, codes.FloatFinish) else ()

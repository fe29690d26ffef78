"""What operations do before the store, as kernels want to be told."""

from edgekiln.compiler.ir import function as ir
from edgekiln.compiler.ir.codes import Finish, FloatFinish, IntFinish
from edgekiln.compiler.kernels.function import Function, Step


def int_clip(finish: Finish) -> tuple[int, int]:
    """Lowest and highest code; kernels that make floats of codes look at none."""
    return finish.limits if isinstance(finish, IntFinish) else (0, 0)


def float_clip(finish: Finish) -> tuple[float, float]:
    """Lowest and highest float."""
    assert isinstance(finish, FloatFinish), finish
    return finish.limits


def function_of(finish: Finish) -> Function:
    """What a kernel applies to floats after their clip."""
    assert isinstance(finish, FloatFinish), finish
    return kernel_function(finish.function)


def kernel_function(function: ir.Function) -> Function:
    return tuple(Step(step.op, step.operands) for step in function)


def copy_clip(finish: IntFinish | None) -> tuple[int, int] | None:
    """Of a move, which may keep all codes."""
    return None if finish is None else finish.limits

"""Operations on sequences: of classes, and of scores from call to call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from edgekiln.compiler.ir.moves import described, wrong_shape
from edgekiln.compiler.ir.node import Op
from edgekiln.compiler.ir.selection_ops import PLACES
from edgekiln.compiler.ir.tensor import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class CtcCollapse(Op):
    """Classes of steps, (N, steps), without repetitions and then without the blank; -1 behind."""

    KIND: ClassVar[str] = "ctc_collapse"
    on_rows: ClassVar[bool] = True

    blank: int

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        if len(x.shape) != 2 or {x.dtype, y.dtype} != {PLACES}:
            return f"{described(x)} is no sequence of classes for {described(y)}"
        return wrong_shape(y, x.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class CountSymbols(Op):
    """How many numbers of each row, (N, steps), are at least 0."""

    KIND: ClassVar[str] = "count"
    on_rows: ClassVar[bool] = True

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        if len(x.shape) != 2 or {x.dtype, y.dtype} != {PLACES}:
            return f"{described(y)} does not count {described(x)}"
        return wrong_shape(y, x.shape[:1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Hysteresis(Op):
    """Scores and what the call before left → what this one leaves: of each score n, the calls in a
    row that want its decision to become true, or -1 - n where it is true, and they want it false.
    """

    KIND: ClassVar[str] = "hysteresis"
    on_rows: ClassVar[bool] = True

    on: float
    off: float
    steps: int

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x, state), (y,) = xs, ys
        if {x.dtype, state.dtype, y.dtype} != {"float32"}:
            return f"{described(x)} and {described(state)} are no scores and their state"
        return wrong_shape(state, x.shape) or wrong_shape(y, x.shape)

"""Operations on sequences of classes."""

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

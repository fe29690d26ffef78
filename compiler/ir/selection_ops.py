"""Operations that choose among values: which are the largest, and what they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from edgekiln.compiler.ir.codes import Fill
from edgekiln.compiler.ir.moves import INDICES, described, moved, wrong_shape
from edgekiln.compiler.ir.node import Op
from edgekiln.compiler.ir.tensor import Tensor

PLACES = "int64"  # as ONNX numbers them


@dataclass(frozen=True, kw_only=True, eq=False)
class TopPlaces(Op):
    """The places of the largest, or smallest, values along an axis, best first; of equal ones the
    first comes first.
    """

    KIND: ClassVar[str] = "top_k"
    on_rows: ClassVar[bool] = True

    axis: int  # not negative
    count: int
    largest: bool

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        if not 0 < self.count <= x.shape[self.axis] or y.dtype != PLACES:
            return f"{described(x)} has no {self.count} best for {described(y)}"
        shape = (*x.shape[: self.axis], self.count, *x.shape[self.axis + 1 :])
        return "" if y.shape == shape or self.count == 1 else wrong_shape(y, shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class TakeAlong(Op):
    """The values of the first operand at the places along an axis that the second one holds."""

    KIND: ClassVar[str] = "take_along"
    on_rows: ClassVar[bool] = True

    axis: int  # not negative

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x, places), (y,) = xs, ys
        return moved(x, y) or wrong_shape(y, places.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class OneHot(Op):
    """Along an axis of the result `on` at the place that a number of the operand names, `off` at
    all others: everywhere, where it names none.
    """

    KIND: ClassVar[str] = "one_hot"
    on_rows: ClassVar[bool] = True

    axis: int  # of the result; not negative
    on: Fill
    off: Fill

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (index,), (y,) = xs, ys
        if index.dtype not in INDICES:
            return f"{described(index)} numbers no places"
        fits = index.elements * y.shape[self.axis] == y.elements
        return "" if fits else f"{described(y)} has not a row for each of {described(index)}"

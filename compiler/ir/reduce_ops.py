"""Reductions of floats along an axis, whatever shape the rest has."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from edgekiln.compiler.ir.codes import FloatFinish, joined, takes_function
from edgekiln.compiler.ir.function import Function
from edgekiln.compiler.ir.moves import described
from edgekiln.compiler.ir.node import Op
from edgekiln.compiler.ir.tensor import Tensor

Reduction = Literal["max", "min", "prod", "sum"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduce(Op):
    """A sum, a product, or the largest or smallest of values along the middle one of three axes.

    Args:
        outer, extent, inner: how the operand is seen.
        before: what is done to each value first.
    """

    KIND: ClassVar[str] = "reduce"
    on_rows: ClassVar[bool] = True

    reduction: Reduction
    outer: int
    extent: int
    inner: int
    before: Function = ()
    finish: FloatFinish = FloatFinish()  # noqa: RUF009, for it is frozen

    @property
    def kind(self) -> str:
        return f"reduce_{self.reduction}"

    def takes_function(self) -> bool:
        return takes_function(self.finish)

    def with_function(self, function: Function) -> "Op":
        return replace(self, finish=joined(self.finish, function))

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        if x.elements != self.outer * self.extent * self.inner:
            return f"{described(x)} is not {self.outer}x{self.extent}x{self.inner}"
        fits = y.elements == self.outer * self.inner
        return "" if fits else f"{described(y)} has no value for each of {self.outer}x{self.inner}"

"""Operations element by element on values of several types: casts, comparisons, choices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from edgekiln.compiler.ir.moves import described, wrong_shape
from edgekiln.compiler.ir.node import Op
from edgekiln.compiler.ir.tensor import Tensor

ElementFunction = Literal[
    "And", "Cast", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or",
    "Where", "Xor",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Elements(Op):
    """An operator of ONNX's element by element, whose operands are broadcast to the result."""

    KIND: ClassVar[str] = "elements"
    on_rows: ClassVar[bool] = True
    takes_bytes: ClassVar[bool] = True

    function: ElementFunction

    @property
    def kind(self) -> str:
        return self.function.lower()

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (y,) = ys
        for x in xs:
            behind = y.shape[len(y.shape) - len(x.shape) :]
            if any(n not in (1, m) for n, m in zip(x.shape, behind, strict=True)):
                return f"{described(x)} is not broadcast to {described(y)}"
        same = self.function != "Cast" or xs[0].shape == y.shape
        return "" if same else wrong_shape(y, xs[0].shape)

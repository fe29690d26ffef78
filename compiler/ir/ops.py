"""Operations that compute on each value, window or row.

Each has one form for codes and for floats: its `finish` says which.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.codes import Finish, FloatFinish, Table, joined, takes_function
from edgekiln.compiler.ir.function import Function
from edgekiln.compiler.ir.memory import Halo
from edgekiln.compiler.ir.moves import described, moved, unequal
from edgekiln.compiler.ir.node import Op
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.ir.window import Window

BinaryFunction = Literal["add", "div", "max", "min", "mul", "prelu"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Binary(Op):
    """A sum, a product or the like, element by element; the second operand may be broadcast.

    Of floats it is a sum, a product or a quotient.
    """

    KIND: ClassVar[str] = "binary"
    spreads_layout: ClassVar[bool] = True

    function: BinaryFunction
    finish: Finish

    @property
    def kind(self) -> str:
        return self.function

    def takes_function(self) -> bool:
        return takes_function(self.finish)

    def with_function(self, function: Function) -> "Op":
        return replace(self, finish=joined(self.finish, function))

    def takes_quantization(self) -> bool:
        return isinstance(self.finish, FloatFinish)

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        return unequal(ys[0], xs[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class Lookup(Op):
    """A function of one code, whichever it is, as a table."""

    KIND: ClassVar[str] = "lookup"
    spreads_layout: ClassVar[bool] = True

    table: Table

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        entries = self.table.entries
        if entries.shape != (256,) or entries.dtype.name != ys[0].dtype:
            return f"a table of {entries.dtype}{list(entries.shape)} makes {described(ys[0])}"
        return unequal(*xs, *ys)


@dataclass(frozen=True, kw_only=True, eq=False)
class ChannelLookup(Op):
    """A function of one code that is another one in each channel of an image.

    Args:
        table: (channels, 256).
    """

    KIND: ClassVar[str] = "lookup"
    is_image: ClassVar[bool] = True

    table: Table

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        entries = self.table.entries
        if entries.shape != (xs[0].shape[1], 256) or entries.dtype.name != ys[0].dtype:
            return f"a table of {entries.dtype}{list(entries.shape)} makes {described(ys[0])}"
        return unequal(*xs, *ys)


@dataclass(frozen=True, kw_only=True, eq=False)
class Map(Op):
    """A function of one float, whichever it is."""

    KIND: ClassVar[str] = "function"
    spreads_layout: ClassVar[bool] = True

    function: Function

    def takes_quantization(self) -> bool:
        return True

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        return unequal(*xs, *ys)


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(Op):
    """The largest value in each window."""

    KIND: ClassVar[str] = "max_pool"
    is_image: ClassVar[bool] = True

    window: Window

    def writes_parts(self) -> bool:
        return True

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        return moved(xs[0], ys[0]) or self.window.fault(xs[0], ys[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class AveragePool(Op):
    """The mean of each window."""

    KIND: ClassVar[str] = "avg_pool"
    is_image: ClassVar[bool] = True

    window: Window
    count_include_pad: bool
    finish: Finish

    def reads_border(self, x: Tensor, y: Tensor) -> Halo:
        return self.window.reach(x, y)

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        return self.window.fault(xs[0], ys[0])


def mean_fault(x: Tensor, y: Tensor) -> str:
    """What is wrong with `y` as the mean of `x`, an image's or a sequence's; "": nothing."""
    # (N, C, H, W) keeps N and C; (N, T, C), a sequence, keeps N and its last axis.
    kept = x.shape[:2] if len(x.shape) == 4 else (x.shape[0], x.shape[-1])
    return "" if y.elements == prod(kept) else f"{described(x)} has no mean {described(y)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalAveragePool(Op):
    """The mean of an image's pixels, or of a sequence's tokens."""

    KIND: ClassVar[str] = "global_avg_pool"
    is_image: ClassVar[bool] = True

    finish: Finish

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        return mean_fault(xs[0], ys[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(Op):
    """Makes each row of the last axis a probability distribution."""

    KIND: ClassVar[str] = "softmax"
    on_rows: ClassVar[bool] = True

    finish: Finish

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        return unequal(*xs, *ys)


@dataclass(frozen=True, kw_only=True, eq=False)
class LogSoftmax(Op):
    """The logarithms of what Softmax makes of each row of the last axis, of floats."""

    KIND: ClassVar[str] = "log_softmax"
    on_rows: ClassVar[bool] = True

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        return unequal(*xs, *ys)


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerNorm(Op):
    """gamma · (x - mean) / √(variance + epsilon) + beta of each row of the last axis."""

    KIND: ClassVar[str] = "layer_norm"
    on_rows: ClassVar[bool] = True

    gamma: NDArray[np.float32]
    beta: NDArray[np.float32]
    epsilon: float
    finish: Finish

    def takes_function(self) -> bool:
        return takes_function(self.finish)

    def with_function(self, function: Function) -> "Op":
        return replace(self, finish=joined(self.finish, function))

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        row = xs[0].shape[-1:]
        numbers = "" if self.gamma.shape == self.beta.shape == row else "other numbers than a row's"
        return numbers or unequal(*xs, *ys)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Edge(Op):
    """Converts between floats and codes; of an image in ONNX's order on its way, too."""

    spreads_layout: ClassVar[bool] = True
    turns_edges: ClassVar[bool] = True

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        x, y = xs[0], ys[0]
        return "" if x.elements == y.elements else f"{described(x)} is not {described(y)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantize(_Edge):
    """Codes of floats: round half to even, or half away from zero as TFLite does; saturate."""

    KIND: ClassVar[str] = "quantize"

    half_away: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Dequantize(_Edge):
    """The floats that codes stand for."""

    KIND: ClassVar[str] = "dequantize"

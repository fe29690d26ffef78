"""Operations on codes whose scale and zero point are known only when the program runs.

Such codes stand for themselves: their tensors have the scale 1 and the zero point 0, so that they
move, and change their type, as all codes do. What they are scaled by is a tensor of its own, their
**range**: two floats, the scale and the zero point.

    Σ (x - z)·(w - v) = Σ x·w' + e·Σ x - z·Σ (w - v)        w' = w - v - e, which fits int8

The first sum is a convolution's or a product's, kept in int32; `FinishSums` does the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.codes import FloatFinish, Quant
from edgekiln.compiler.ir.moves import described, unequal, wrong_shape
from edgekiln.compiler.ir.node import Op
from edgekiln.compiler.ir.tensor import QMIN, Tensor

THEMSELVES = Quant(scale=1.0, zero_point=0)  # of codes that stand for themselves
RANGE = (2,)  # the shape of a range: scale and zero point


def _no_range(tensor: Tensor) -> str:
    """What is wrong with a tensor as a range; "": nothing."""
    fits = tensor.dtype == "float32" and tensor.shape == RANGE
    return "" if fits else f"{described(tensor)} is no range"


@dataclass(frozen=True, kw_only=True, eq=False)
class RangeOf(Op):
    """Floats → the range that ONNX's DynamicQuantizeLinear gives them."""

    KIND: ClassVar[str] = "range"

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        return _no_range(y) or ("" if x.dtype == "float32" else f"{described(x)} is not float32")


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenRange(Op):
    """A range of a scale, float32, and a zero point, a byte; those that are no operands are known.

    Args:
        scale, zero: None for an operand.
    """

    KIND: ClassVar[str] = "range"
    on_rows: ClassVar[bool] = True
    takes_bytes: ClassVar[bool] = True

    scale: float | None
    zero: int | None

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        wanted = [
            name for name, value in (("float32", self.scale), ("byte", self.zero)) if value is None
        ]
        given = ["byte" if x.dtype in QMIN else x.dtype for x in xs if x.elements == 1]
        return _no_range(ys[0]) or ("" if given == wanted else f"{given} are not {wanted}")


@dataclass(frozen=True, kw_only=True, eq=False)
class RangePart(Op):
    """A range's scale, or its zero point as an unsigned byte."""

    KIND: ClassVar[str] = "range"
    on_rows: ClassVar[bool] = True
    takes_bytes: ClassVar[bool] = True

    zero: bool

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        fits = y.elements == 1 and y.dtype == ("uint8" if self.zero else "float32")
        return _no_range(x) or ("" if fits else f"{described(y)} is no part of a range")


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizeByRange(Op):
    """Floats and their range → codes: round half to even, saturate. A border has the zero point."""

    KIND: ClassVar[str] = "quantize"
    spreads_layout: ClassVar[bool] = True

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x, range_), (y,) = xs, ys
        return _no_range(range_) or wrong_shape(y, x.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Border(Op):
    """The same codes with a border of the zero point of a range."""

    KIND: ClassVar[str] = "border"
    spreads_layout: ClassVar[bool] = True

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x, range_), (y,) = xs, ys
        return _no_range(range_) or unequal(x, y)


@dataclass(frozen=True, kw_only=True, eq=False)
class Recode(Op):
    """Bytes as codes of a type that kernels choose, or such codes, or int32 sums, as they were."""

    KIND: ClassVar[str] = "copy"
    on_rows: ClassVar[bool] = True
    takes_bytes: ClassVar[bool] = True

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        kinds = (x.dtype in QMIN, y.dtype in QMIN)
        return unequal(x, y) if len({*kinds}) == 1 else f"{described(x)} is not {described(y)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnSums(Op):
    """Codes (…, K, N), and maybe the zero point of all or of each column → Σ over K of the codes
    less their zero point, int32 (…, N).
    """

    KIND: ClassVar[str] = "column_sums"
    on_rows: ClassVar[bool] = True
    takes_bytes: ClassVar[bool] = True

    zeros: NDArray[np.int32] | None  # None: an operand

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        x, y = xs[0], ys[0]
        return wrong_shape(y, (*x.shape[:-2], x.shape[-1]))


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishSums(Op):
    """Sums of codes, a range, and further operands → int32, or floats scaled and clipped.

        y = sums + shift·(sums of rows) - zero point·(sums of columns)
        floats: y · (scale · mult) + bias

    Args:
        row_sums: whether the sums of rows are the next operand, one number a row or a result.
        columns: the sums of columns, int32; None: the next operand.
        shifts: int32, one number or one a channel; None: the last operand has zero points, of which
            they are the negative.
        mult, bias: one number a channel. mult is None where results are int32; bias, where nothing
            is added.
    """

    KIND: ClassVar[str] = "finish_sums"
    on_rows: ClassVar[bool] = True
    takes_bytes: ClassVar[bool] = True

    row_sums: bool
    columns: NDArray[np.int32] | None
    shifts: NDArray[np.int32] | None
    mult: NDArray[np.float32] | None = None
    bias: NDArray[np.float32] | None = None
    finish: FloatFinish = field(default_factory=FloatFinish)

    @property
    def operands(self) -> int:
        """How many it has."""
        return 2 + self.row_sums + (self.columns is None) + (self.shifts is None)

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        sums, (y,) = xs[0], ys
        if len(xs) != self.operands:
            return f"{len(xs)} operands, not {self.operands}"
        if y.elements != prod(sums.shape):
            return f"{described(y)} does not finish {described(sums)}"
        return _no_range(xs[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishImageSums(FinishSums):
    """The same of a convolution's sums, whose channels lie on axis 1."""

    on_rows: ClassVar[bool] = False
    spreads_layout: ClassVar[bool] = True

"""Operations on the boxes of a detector."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.moves import described, moved, wrong_shape
from edgekiln.compiler.ir.node import Op
from edgekiln.compiler.ir.selection_ops import PLACES
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.onnx_model.detection_functions import RECORD


def _unfitting(boxes: Tensor, scores: Tensor) -> str:
    """What does not fit between (N, boxes, 4) and (N, classes, boxes)."""
    if len(scores.shape) != 3 or {boxes.dtype, scores.dtype} != {"float32"}:
        return f"{described(scores)} are no scores of {described(boxes)}"
    images, _, count = scores.shape
    return wrong_shape(boxes, (images, count, 4))


@dataclass(frozen=True, kw_only=True, eq=False)
class Suppress(Op):
    """Boxes and scores → (image, class, box) of the boxes that do not overlap a better one of their
    class, then rows of -1.
    """

    KIND: ClassVar[str] = "suppression"
    on_rows: ClassVar[bool] = True

    most: int  # of a class in an image
    centered: bool
    overlap: float
    least: float | None

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (boxes, scores), (y,) = xs, ys
        if fault := _unfitting(boxes, scores):
            return fault
        images, classes, count = scores.shape
        if not 0 < self.most <= count or y.dtype != PLACES:
            return f"{described(scores)} has no {self.most} best for {described(y)}"
        return wrong_shape(y, (images * classes * self.most, 3))


@dataclass(frozen=True, kw_only=True, eq=False)
class Detect(Op):
    """Boxes and scores → the records of what was found, best first, then rows of -1."""

    KIND: ClassVar[str] = "detections"
    on_rows: ClassVar[bool] = True

    most: int
    per_class: int
    together: bool
    overlap: float
    least: float
    place: NDArray[np.float32]  # (4, 4): factors, offsets, lower and upper bounds

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (boxes, scores), (y,) = xs, ys
        if fault := _unfitting(boxes, scores):
            return fault
        images, classes, count = scores.shape
        kept = self.per_class * (1 if self.together else classes)
        if not 0 < self.per_class <= count or not 0 < self.most <= kept:
            return f"{described(scores)} has no {self.most} best"
        return wrong_shape(y, (images, self.most, RECORD))


@dataclass(frozen=True, kw_only=True, eq=False)
class CountRows(Op):
    """How many rows are there, and do not fill up: those with a number of at least 0 at `place`."""

    KIND: ClassVar[str] = "count"
    on_rows: ClassVar[bool] = True

    place: int

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        if y.dtype != PLACES or x.dtype not in (PLACES, "float32"):
            return f"{described(y)} does not count the rows of {described(x)}"
        return wrong_shape(y, x.shape[:-2] or (1,))


@dataclass(frozen=True, kw_only=True, eq=False)
class FillRows(Op):
    """The first operand, with -1 along an axis where the second one, rows of `Suppress`, has none
    that is there.
    """

    KIND: ClassVar[str] = "fill"
    on_rows: ClassVar[bool] = True
    takes_bytes: ClassVar[bool] = True

    axis: int

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x, rows), (y,) = xs, ys
        return moved(x, y) or wrong_shape(y, x.shape) or wrong_shape(rows, (x.shape[self.axis], 3))

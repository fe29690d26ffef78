"""What a detector found: the best boxes of all classes that do not overlap, a record each."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.suppression import LEAST, BoxSet, limits_of
from edgekiln.compiler.kernels.tir import divmod_, let, loop, memory, register, store, when
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.compiler.onnx_model.detection_functions import RECORD, filling
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    cast,
    const,
    float_const,
    load,
    select,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectionsKernel:
    """(images, most, 6) records, best first: a box, its score, its class; rows of -1 behind them.

    A box's numbers are multiplied, moved and kept inside bounds after it was chosen.

    Args:
        images, classes, boxes: boxes are (images, boxes, 4), two corners; scores (images, classes,
            boxes).
        most, per_class: boxes of an image that are told, and that each class may keep.
        together: whether a box has its best class alone, and may cover one of another class.
        overlap: the share that two boxes may have in common of what they cover.
        least: what a score has to be above.
        place: (4, 4): factors, offsets, lower and upper bounds of a box's numbers.
    """

    images: int
    classes: int
    boxes: int
    most: int
    per_class: int
    together: bool
    overlap: float
    least: float
    place: NDArray[np.float32]

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        return replace(self, overlap=0.0, least=0.0, place=np.zeros_like(self.place))

    @shared
    def build(self, mk: MicroKernel) -> Kernel:  # noqa: ARG002  # the same on every chip
        """Build the kernel."""
        groups = 1 if self.together else self.classes
        with KernelBuilder() as k:
            boxes = k.tensor(self.images * self.boxes * 4, "float32")
            scores = k.tensor(self.images * self.classes * self.boxes, "float32")
            limits = k.constant(limits_of(self.overlap, self.least))
            place = k.constant(self.place.reshape(-1))
            y = k.tensor(self.images * self.most * RECORD, "float32")
            k.no_items()
            waiting = memory("int32", self.boxes)
            united = memory("float32", self.boxes) if self.together else scores
            kept = memory("float32", groups * self.per_class)
            where = memory("int32", groups * self.per_class)
            total = register("int32", 1)
            with loop(0, self.images) as image:
                store(total, 0, const(0))
                if self.together:
                    self._unite(scores, image, limits, united)
                with loop(0, groups) as group:
                    first = let((image * groups + group) * self.boxes)
                    found = BoxSet(
                        boxes=boxes, first_box=let(image * (self.boxes * 4)), scores=united,
                        first_score=0 if self.together else first, limits=limits,
                        count=self.boxes, most=self.per_class, centered=False, reaching=False,
                        waiting=waiting,
                    )  # fmt: skip

                    def use(number: Expr, score: Expr, group: Expr = group) -> None:
                        store(kept, load(total, 0), score)
                        store(where, load(total, 0), group * self.boxes + number)
                        store(total, 0, load(total, 0) + 1)

                    found.keep(use)
                with loop(0, self.most) as rank:
                    chosen = self._best(kept, load(total, 0), limits)
                    to = let((image * self.most + rank) * RECORD)
                    with when(chosen < const(0)), loop(0, RECORD) as i:
                        store(y, to + i, float_const(-1.0))
                    with when(chosen >= const(0)):
                        store(y, to + 4, load(kept, chosen))
                        store(kept, chosen, load(limits, LEAST))
                        group, number = divmod_(load(where, chosen), self.boxes)
                        if self.together:
                            group = self._kind(scores, image, number, limits)
                        store(y, to + 5, cast(group, "float32"))
                        at = let((image * self.boxes + number) * 4)
                        for edge in range(4):
                            value = self._placed(load(boxes, at + edge), place, edge)
                            store(y, to + edge, value)
        return k.finish()

    def _unite(self, scores: Buffer, image: Expr, limits: Buffer, united: Buffer) -> None:
        """The best score of each box, or the least where none is above it."""
        with loop(0, self.boxes) as number:
            store(united, number, load(limits, LEAST))
            with loop(0, self.classes) as kind:
                at = (image * self.classes + kind) * self.boxes + number
                score = let(load(scores, at))
                with when(score > load(united, number)):
                    store(united, number, score)

    def _best(self, kept: Buffer, count: Expr, limits: Buffer) -> Expr:
        """The place of the best score that is above the least; -1 if there is none."""
        top, chosen = register("float32", 1), register("int32", 1)
        store(top, 0, load(limits, LEAST))
        store(chosen, 0, const(-1))
        with loop(0, count) as i:
            score = let(load(kept, i))
            with when(score > load(top, 0)):
                store(top, 0, score)
                store(chosen, 0, i)
        return let(load(chosen, 0))

    def _kind(self, scores: Buffer, image: Expr, number: Expr, limits: Buffer) -> Expr:
        """The first of a box's classes that have its best score, which is above the least."""
        best, kind = register("float32", 1), register("int32", 1)
        store(best, 0, load(limits, LEAST))
        store(kind, 0, const(0))
        with loop(0, self.classes) as each:
            at = (image * self.classes + each) * self.boxes + number
            score = let(load(scores, at))
            with when(score > load(best, 0)):
                store(best, 0, score)
                store(kind, 0, each)
        return let(load(kind, 0))

    def _placed(self, value: Expr, place: Buffer, i: int) -> Expr:
        """One number of a box, which stays NaN where it is."""
        factor, offset, low, high = (let(load(place, 4 * row + i)) for row in range(4))
        scaled = let(value * factor)
        moved = let(scaled + offset)
        above = let(select(moved < low, low, moved))
        return select(above > high, high, above)


@dataclass(frozen=True, kw_only=True)
class CountKernel:
    """y[o] = how many of the rows x[o, :] have a number of at least 0 at `place`."""

    outer: int
    rows: int
    width: int
    place: int
    dtype: str  # int64 or float32

    @property
    def erased(self) -> Self:
        """The kernel itself, for no number lies in memory."""
        return self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:  # noqa: ARG002  # the same on every chip
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.outer * self.rows * self.width, self.dtype)
            y = k.tensor(self.outer, "int64")
            with loop(*k.items(self.outer)) as item:
                total = register("int32", 1)
                store(total, 0, const(0))
                with loop(0, self.rows) as row:
                    at = let((item * self.rows + row) * self.width + self.place)
                    with when(load(x, at) >= cast(const(0), self.dtype)):
                        store(total, 0, load(total, 0) + 1)
                store(y, item, cast(load(total, 0), "int64"))
        return k.finish()


@dataclass(frozen=True, kw_only=True)
class FillKernel:
    """y[o, r, i] = x[o, r, i] where row r of (rows, 3) numbers begins with one of at least 0, else
    -1, or 0 where the type has no sign.
    """

    outer: int
    rows: int
    inner: int
    dtype: str

    @property
    def erased(self) -> Self:
        """The kernel itself, for no number lies in memory."""
        return self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:  # noqa: ARG002  # the same on every chip
        """Build the kernel."""
        filler = cast(const(filling(self.dtype)), self.dtype)
        with KernelBuilder() as k:
            x = k.tensor(self.outer * self.rows * self.inner, self.dtype)
            numbers = k.tensor(self.rows * 3, "int64")
            y = k.tensor(self.outer * self.rows * self.inner, self.dtype)
            with loop(*k.items(self.outer * self.rows)) as item:
                _, row = divmod_(item, self.rows)
                there = let(select(load(numbers, row * 3) >= const(0, "int64"), const(1), const(0)))
                with loop(0, self.inner) as i:
                    at = let(item * self.inner + i)
                    store(y, at, select(there > const(0), load(x, at), filler))
        return k.finish()

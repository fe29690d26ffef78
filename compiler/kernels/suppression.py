"""Boxes that overlap a better one go: non-maximum suppression, box by box on every chip.

The arithmetic and its order are those of ONNX Runtime's NonMaxSuppression, NaN included.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import let, loop, memory, register, store, when
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    cast,
    const,
    float_const,
    load,
    select,
)

OVERLAP, LEAST = 0, 1  # where the limits lie in memory


@dataclass(frozen=True, kw_only=True)
class BoxSet:
    """Boxes and scores of one class: scores[first_score + i] is that of box i.

    Args:
        boxes: four numbers a box, from `first_box` on.
        limits: the most overlap, and the score that a box has to be above.
        count: of the boxes.
        most: boxes that may be kept.
        centered: whether a box is center and size; else two opposite corners.
        reaching: whether a box may have the least score itself.
        waiting: memory for the numbers of boxes.
    """

    boxes: Buffer
    first_box: Index
    scores: Buffer
    first_score: Index
    limits: Buffer
    count: int
    most: int
    centered: bool
    reaching: bool
    waiting: Buffer

    def keep(self, use: Callable[[Expr, Expr], None]) -> None:
        """Write the code that calls `use` with the number and the score of each box that stays,
        best first; of equal ones the first comes first.
        """
        left, rest = register("int32", 1), register("int32", 1)
        best, place = register("float32", 1), register("int32", 1)
        least = let(load(self.limits, LEAST))
        store(left, 0, const(0))
        with loop(0, self.count) as i:
            score = let(self._score(i))
            # Comparisons as they stand: no NaN is above or reaches anything.
            with when(score >= least if self.reaching else score > least):
                store(self.waiting, load(left, 0), i)
                store(left, 0, load(left, 0) + 1)
        with loop(0, self.most), when(load(left, 0) > const(0)):
            store(place, 0, load(self.waiting, 0))
            store(best, 0, self._score(load(place, 0)))
            with loop(1, load(left, 0)) as i:
                number = let(load(self.waiting, i))
                score = let(self._score(number))
                with when(score > load(best, 0)):
                    store(best, 0, score)
                    store(place, 0, number)
            chosen = let(load(place, 0))
            use(chosen, let(load(best, 0)))
            store(rest, 0, const(0))
            with loop(0, load(left, 0)) as i:
                number = let(load(self.waiting, i))
                goes = let(select(number == chosen, const(1), self._covered(number, chosen)))
                with when(goes < const(1)):
                    store(self.waiting, load(rest, 0), number)
                    store(rest, 0, load(rest, 0) + 1)
            store(left, 0, load(rest, 0))

    def _score(self, number: Expr) -> Expr:
        return load(self.scores, self.first_score + number)

    def _covered(self, number: Expr, by: Expr) -> Expr:
        """1 where a box overlaps a better one by more than the limit."""
        ours, theirs = self._edges(number), self._edges(by)
        stays = register("int32", 1)
        areas = [let(self._area(each)) for each in (ours, theirs)]
        sides: list[Expr] = []
        store(stays, 0, const(0))
        for axis in (0, 1):
            low, high = ours[axis], ours[axis + 2]
            their_low, their_high = theirs[axis], theirs[axis + 2]
            first = let(select(low < their_low, their_low, low))
            last = let(select(their_high < high, their_high, high))
            with when(last <= first):
                store(stays, 0, const(1))
            sides.append(let(last - first))
        both = let(sides[0] * sides[1])
        total = let(areas[0] + areas[1])
        either = let(total - both)
        for area in (both, *areas, either):
            with when(area <= float_const(0.0)):
                store(stays, 0, const(1))
        share = let(both / either)
        return select(
            load(stays, 0) > const(0),
            const(0),
            select(share > load(self.limits, OVERLAP), const(1), const(0)),
        )

    def _area(self, edges: tuple[Expr, ...]) -> Expr:
        width, height = let(edges[2] - edges[0]), let(edges[3] - edges[1])
        return width * height

    def _edges(self, number: Expr) -> tuple[Expr, ...]:
        """The lower edge on both axes, then the upper one."""
        at = let(self.first_box + number * 4)
        a, b, c, d = (let(load(self.boxes, at + place)) for place in range(4))
        if self.centered:
            half = float_const(0.5)
            x, y = let(c * half), let(d * half)
            return let(a - x), let(b - y), let(a + x), let(b + y)
        pairs = (a, c), (b, d)
        lows = [let(select(one >= other, other, one)) for one, other in pairs]
        highs = [let(select(one >= other, one, other)) for one, other in pairs]
        return (*lows, *highs)


@dataclass(frozen=True, kw_only=True, eq=False)
class SuppressionKernel:
    """Which boxes stay: (image, class, box) a row, best first in each class, then rows of -1.

    Args:
        images, classes, boxes: boxes are (images, boxes, 4), scores (images, classes, boxes).
        most: boxes of a class in an image that may stay.
        overlap: the share that two boxes may have in common of what they cover.
        least: what a score has to be above; None: all may stay.
    """

    images: int
    classes: int
    boxes: int
    most: int
    centered: bool
    overlap: float
    least: float | None

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        return replace(self, overlap=0.0, least=None if self.least is None else 0.0)

    @property
    def rows(self) -> int:
        """How many boxes may stay in all."""
        return self.images * self.classes * self.most

    @shared
    def build(self, mk: MicroKernel) -> Kernel:  # noqa: ARG002  # the same on every chip
        """Build the kernel."""
        with KernelBuilder() as k:
            boxes = k.tensor(self.images * self.boxes * 4, "float32")
            scores = k.tensor(self.images * self.classes * self.boxes, "float32")
            limits = k.constant(limits_of(self.overlap, self.least))
            rows = k.tensor(self.rows * 3, "int64")
            k.no_items()
            waiting = memory("int32", self.boxes)
            total = register("int32", 1)
            store(total, 0, const(0))
            with loop(0, self.rows * 3) as i:
                store(rows, i, const(-1, "int64"))
            with loop(0, self.images) as image, loop(0, self.classes) as kind:
                found = BoxSet(
                    boxes=boxes, first_box=let(image * (self.boxes * 4)),
                    scores=scores, first_score=let((image * self.classes + kind) * self.boxes),
                    limits=limits, count=self.boxes, most=self.most, centered=self.centered,
                    reaching=self.least is None, waiting=waiting,
                )  # fmt: skip

                def use(number: Expr, score: Expr, image: Expr = image, kind: Expr = kind) -> None:
                    del score
                    to = let(load(total, 0) * 3)
                    for place, value in enumerate((image, kind, number)):
                        store(rows, to + place, cast(value, "int64"))
                    store(total, 0, load(total, 0) + 1)

                found.keep(use)
        return k.finish()


def limits_of(
    overlap: float, least: float | None
) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    """The limits as they lie in memory."""
    return np.array([overlap, -np.inf if least is None else least], np.float32)

"""Depthwise convolution by products of pairs: the sums of neighbouring output columns of a band."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from edgekiln.compiler.kernels.depthwise.operands import DepthwiseOperands, VectorPlace
from edgekiln.compiler.kernels.depthwise.pairs_plan import PairsPlan
from edgekiln.compiler.kernels.tir import let, register, repeat, store
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, cast, load


@dataclass(frozen=True)
class PairTiles:
    """Emits a tile of output columns of bands, channel by channel.

    Bands make the inner loop: LLVM chooses worse addresses for loops of short strides.
    """

    operands: DepthwiseOperands
    plan: PairsPlan
    start: Index = 0  # the first output column

    def shares(self) -> Iterator[Self]:
        """Each tile of a row."""
        width, size = self.plan.conv.y.w, self.plan.columns
        with repeat(width // size) as i:
            yield replace(self, start=let(i * size))
        if width % size:
            # The last tile overlaps its predecessor.
            yield replace(self, start=width - size)

    def emit(self, at: VectorPlace, rows: int) -> None:
        """Emit the tile in a band of `rows`."""
        operands, plan = self.operands, self.plan
        first, size = operands.first(at, self.start), plan.columns
        sums = [[register("int32", 1) for _ in range(rows)] for _ in range(size)]
        for column, uses in plan.uses(size).items():
            # A sum lives from its first tap to its last one: few are alive at once.
            for output, tap in uses:
                if tap == 0:
                    for acc in sums[output]:
                        store(acc, 0, operands.epilogue.bias(at.lane, 1))
            # The column's words are made once, for every tap and row.
            words = self._words(let(first + column * plan.conv.x.c), rows)
            for output, tap in uses:
                for row, acc in enumerate(sums[output]):
                    self._add(acc, words, at.lane, tap, row)
            for output, tap in uses:
                if tap == plan.kw - 1:
                    for row, acc in enumerate(sums[output]):
                        operands.finish(at, at.lane, row, self.start + output, load(acc, 0))

    def _words(self, source: Index, rows: int) -> list[Expr]:
        """The words of an image column, for so many output rows."""
        plan, conv = self.plan, self.plan.conv
        step = conv.dilations[0] * conv.x.row
        words: list[Expr] = []
        for image_rows in plan.words(rows):
            codes = [
                cast(load(self.operands.x, source + row * step), "int32") for row in image_rows
            ]
            words.append(let(plan.halfwords.pair(*codes) if len(codes) > 1 else codes[0]))
        return words

    def _add(self, acc: Buffer, words: list[Expr], lane: Index, tap: int, row: int) -> None:
        """Add what an output row takes of a column that one of its taps reaches."""
        plan, total = self.plan, load(acc, 0)
        place = (lane * plan.kw + tap) * len(plan.pairs)
        for term in plan.terms(row):
            weights = load(self.operands.weights, (place + term.weights) * 2, 2)
            total = plan.halfwords.dot(total, words[term.word], weights, term.halves)
        store(acc, 0, total)

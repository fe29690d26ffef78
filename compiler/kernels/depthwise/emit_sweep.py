"""Depthwise convolution by sweeps: image columns and weights stay in registers.

A band of output rows is swept from left to right, a strip of columns at a time, and every image
column is interleaved once. The registers hold the image columns of a window and, of 64 channels,
the weights of one half: so a strip is swept twice, and the sums of the first half wait in memory,
in the first-level cache, for the epilogue that packs both.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from edgekiln.compiler.kernels.depthwise.operands import DepthwiseOperands, VectorPlace
from edgekiln.compiler.kernels.depthwise.plan import InterleavedPlan
from edgekiln.compiler.kernels.tir import let, register, repeat, store
from edgekiln.targets.isa.expressions import Buffer, Index, load, shuffle

# Vectors of output columns in a strip: their sums wait in the first-level cache.
_STRIP = 28

# What `dot` takes, by image column and chunk.
Window = dict[tuple[int, int], Buffer]


def zeros_for(plan: InterleavedPlan) -> int:
    """How many zeros a sweep wants."""
    return plan.conv.y.h + plan.conv.y.w


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Emits bands.

    Args:
        zeros: `zeros_for` int32 zeros. Where weights are too many for the registers, an index to
            which one of these is added keeps LLVM, which cannot know its value, from loading them
            all before the loop, and then again from an unaligned stack, at half the speed.
    """

    operands: DepthwiseOperands
    zeros: Buffer

    def shares(self) -> Iterator[Self]:
        """What is emitted in loops over bands of its own: all columns at once."""
        yield self

    def emit(self, at: VectorPlace, rows: int) -> None:
        """All columns of a band of `rows`."""
        plan = self.operands.plan
        width = plan.conv.y.w
        # A strip is as long as its sums fit in the cache.
        strip = min(_STRIP, width // plan.together)
        parts = plan.parts(at.vector.lanes)
        # Sums of the parts of a vector that were swept before the last one.
        waiting = register("int32", strip * rows * at.vector.lanes) if parts > 1 else None

        def swept(start: Index, count: int) -> None:
            # The parts of a vector are swept one after the other, each with its weights.
            for part in range(parts):
                _StripPart(
                    sweep=self, at=at, rows=rows, start=start, waiting=waiting,
                    index=part, lanes=at.vector.lanes // parts,
                ).emit(count)  # fmt: skip

        with repeat(width // (strip * plan.together)) as i:
            swept(let(i * (strip * plan.together)), strip)
        # The last strip overlaps its predecessor.
        if rest := math.ceil(width % (strip * plan.together) / plan.together):
            swept(width - rest * plan.together, rest)


@dataclass(frozen=True, kw_only=True)
class _StripPart:
    """One sweep over a strip.

    Args:
        start: output column.
        index, lanes: which part of the vector, and how many of its lanes that is.
        waiting: [column][row][lane] sums of the parts before this one.
    """

    sweep: Sweep
    at: VectorPlace
    rows: int
    start: Index
    index: int
    lanes: int
    waiting: Buffer | None

    @property
    def plan(self) -> InterleavedPlan:
        return self.sweep.operands.plan

    @property
    def chunks(self) -> range:
        """The chunks of image rows that the rows of the band need."""
        return range(self.plan.chunks_of(self.rows - 1).stop)

    @property
    def last(self) -> bool:
        """Whether this is the last part of the vector, whose sums need not wait."""
        return (self.index + 1) * self.lanes == self.at.vector.lanes

    def emit(self, count: int) -> None:
        """Emit `count` vectors of output columns, `plan.columns` of them a step."""
        plan, size = self.plan, min(self.plan.columns, count)
        whole, rest = divmod(count, size)
        first = self.sweep.operands.first(self.at, self.start)
        # Columns that a step hands on to the next one.
        kept = plan.kept(size) if count > size else ()
        window: Window = {
            (column, chunk): self._interleaved(first, column, chunk)
            for column in kept
            for chunk in self.chunks
        }
        with repeat(whole) as i:
            seen = self._step(window, let(i * size), size)
            # The window moves right: what the next step has in common with this one stays.
            count = self.lanes * self.plan.lane_elements
            for (column, chunk), operand in window.items():
                store(operand, 0, load(seen[column + plan.ahead(size), chunk], 0, count), count)
        if rest:
            self._step(window, whole * size, rest)

    def _step(self, window: Window, begin: Index, size: int) -> Window:
        """Emit `size` vectors of output columns from `begin` on, counted from the strip's first
        one. Weights that are loaded serve them all.

        Args:
            window: the image columns that the step before has seen.

        Returns:
            All image columns that it needed.
        """
        plan, epilogue, lanes = self.plan, self.sweep.operands.epilogue, self.lanes
        # What is in registers now, and what this step adds.
        seen = dict(window)
        column = let(self.start + begin * plan.together)
        first = self.sweep.operands.first(self.at, column)
        in_registers = plan.in_registers(self.at.vector.lanes, self.rows)
        # Weights in registers serve one column after the other; loaded ones all at once.
        together = 1 if in_registers else size
        for outputs in (range(size)[at : at + together] for at in range(0, size, together)):
            wanted = {at for output in outputs for at in plan.image_columns(output)}
            for key in ((at, chunk) for at in sorted(wanted) for chunk in self.chunks):
                # Each image column is interleaved once for all rows and taps.
                if key not in seen:
                    seen[key] = self._interleaved(first, *key)
            for row in range(self.rows):
                lane = self.at.lane
                if not in_registers:
                    # See `Sweep.zeros`: the index is the lane's, but LLVM cannot know.
                    lane = let(lane + load(self.sweep.zeros, self.at.h + row + column))
                sums = {output: register("int32", lanes) for output in outputs}
                for acc in sums.values():
                    store(acc, 0, epilogue.bias(lane + self.index * lanes, lanes), lanes)
                self._multiply(lane, row, sums, seen)
                for output, acc in sums.items():
                    self._finish(lane, row, begin + output, acc)
        return seen

    def _multiply(self, lane: Index, row: int, sums: dict[int, Buffer], window: Window) -> None:
        """Add the products of every tap to the sums of a row, by vector of output columns."""
        operands, plan, lanes = self.sweep.operands, self.plan, self.lanes
        count = lanes * plan.lane_elements
        for tap in range(plan.kw):
            for chunk in plan.chunks_of(row):
                at = operands.factors(
                    lane, self.at.vector.lanes, (row, chunk), tap, self.index * lanes
                )
                # Loaded once for all columns of the step.
                w = load(operands.weights, at, count)
                for output, acc in sums.items():
                    a = load(window[plan.image_columns(output)[tap], chunk], 0, count)
                    store(acc, 0, plan.mk.dot(load(acc, 0, lanes), a, w, lanes), lanes)

    def _interleaved(self, first: Index, column: int, chunk: int) -> Buffer:
        """This part's lanes of a chunk of an image column, in a register."""
        operands, count = self.sweep.operands, self.lanes * self.plan.lane_elements
        whole = operands.interleaved(self.at, first, column, chunk, self.rows)
        own = range(self.index * count, (self.index + 1) * count)
        operand = register(self.plan.mk.activation, count)
        store(operand, 0, shuffle([whole], own), count)
        return operand

    def _finish(self, lane: Index, row: int, output: Index, acc: Buffer) -> None:
        """Let the sums wait, or join them with those that wait and emit their epilogue."""
        vector, before = self.at.vector, self.index * self.lanes
        place = (output * self.rows + row) * vector.lanes
        sums = load(acc, 0, self.lanes)
        if not self.last:
            assert self.waiting is not None
            store(self.waiting, place + before, sums, self.lanes)
            return
        if before:
            assert self.waiting is not None
            # The last part has the others' sums at hand: together they fill the packing.
            sums = shuffle([load(self.waiting, place, before), sums], range(vector.lanes))
        column = self.start + output * self.plan.together
        self.sweep.operands.finish(self.at, lane, row, column, sums)

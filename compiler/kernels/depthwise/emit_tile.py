"""Depthwise convolution by register tiles: the sums of neighbouring output columns.

Output columns slide over the image columns of their tile and leave as soon as their last one has
come. This is for processors with few registers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from edgekiln.compiler.kernels.depthwise.operands import DepthwiseOperands, VectorPlace
from edgekiln.compiler.kernels.tir import let, register, repeat, store
from edgekiln.targets.isa.expressions import Index, load


@dataclass(frozen=True)
class Tiles:
    """Emits bands of one row."""

    operands: DepthwiseOperands

    def shares(self) -> Iterator[Self]:
        """What is emitted in loops over bands of its own: all columns at once."""
        yield self

    def emit(self, at: VectorPlace, rows: int) -> None:
        """Emit all columns of a row."""
        assert rows == 1, "the sums of several rows would need too many registers"
        plan = self.operands.plan
        width, size = plan.conv.y.w, plan.columns
        pixels = size * plan.together
        with repeat(width // pixels) as i:
            self._tile(at, let(i * pixels), size)
        if width % pixels:
            # The last tile overlaps its predecessor.
            self._tile(at, width - pixels, size)

    def _tile(self, at: VectorPlace, start: Index, size: int) -> None:
        """Emit `size` vectors of output columns from the column `start` on."""
        operands, plan, lanes = self.operands, self.operands.plan, at.vector.lanes
        mk, count = plan.mk, lanes * plan.lane_elements
        sums = [register("int32", lanes) for _ in range(size)]
        first = operands.first(at, start)
        for column, uses in plan.uses(size).items():
            # A sum lives from its first tap to its last one: few are alive at once.
            for output, tap in uses:
                if tap == 0:
                    store(sums[output], 0, operands.epilogue.bias(at.lane, lanes), lanes)
            # The column is interleaved once and multiplied by every tap that reaches it.
            for step in plan.steps:
                a = register(mk.activation, count)
                _, chunk = step
                store(a, 0, operands.interleaved(at, first, column, chunk, 1), count)
                for output, tap in uses:
                    w = load(operands.weights, operands.factors(at.lane, lanes, step, tap), count)
                    acc = load(sums[output], 0, lanes)
                    store(sums[output], 0, mk.dot(acc, load(a, 0, count), w, lanes), lanes)
            for output, tap in uses:
                # After its last tap a sum leaves.
                if tap == plan.kw - 1:
                    acc = load(sums[output], 0, lanes)
                    operands.finish(at, at.lane, 0, start + output * plan.together, acc)

"""Depthwise convolution by multiply-adds: one filter a channel, vectors over channels.

Output columns slide over the image columns of their tile, so a vector of an image column is loaded
once for every tap that reaches it. Where channels are few, several pixels fill a vector: to a
filter that repeats, they are more channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.channels import Vector
from edgekiln.compiler.kernels.depthwise.fma_plan import FmaPlan
from edgekiln.compiler.kernels.epilogue.base import Epilogue
from edgekiln.compiler.kernels.tir import divmod_, let, loop, register, repeat, store
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, load, shuffle


@dataclass(frozen=True, kw_only=True)
class _Row:
    """Where a row is: image, output row, first channel, that channel's lane in the constants."""

    n: Index
    h: Index
    channel: Index
    lane: Index


@dataclass(frozen=True)
class FmaEmitter:
    """Emits the loops over rows and tiles."""

    plan: FmaPlan
    x: Buffer
    weights: Buffer
    epilogue: Epilogue

    def emit(self, begin: Expr, end: Expr) -> None:
        """Emit the items begin..end-1, each a row of the output."""
        plan, conv = self.plan, self.plan.conv
        with loop(begin, end) as item:
            n, h = divmod_(item, conv.y.h)
            fill_border(plan.mk, self.epilogue.out, conv.y, n, h, self.epilogue.zero())
        lane = 0
        for block in plan.layout:
            (vector,) = block.vectors
            with repeat(block.count) as i, loop(begin, end) as item:
                n, h = divmod_(item, conv.y.h)
                at = _Row(
                    n=n, h=h, channel=let(vector.start + i * vector.lanes),
                    lane=let(lane + i * vector.lanes),
                )  # fmt: skip
                for start in self._starts():
                    self._tile(vector, at, start)
            lane += block.count * vector.lanes

    def _starts(self) -> Iterator[Index]:
        """First output columns of tiles; the last tile may overlap the one before."""
        width, pixels = self.plan.conv.y.w, self.plan.tile.pixels * self.plan.together
        with repeat(width // pixels) as i:
            yield let(i * pixels)
        if width % pixels:
            yield width - pixels

    def _tile(self, vector: Vector, at: _Row, start: Index) -> None:
        """The sums of one register tile, and the epilogue of each of its vectors."""
        plan, conv, lanes = self.plan, self.plan.conv, vector.lanes
        sums = [register(plan.mk.accumulator, lanes) for _ in range(plan.tile.pixels)]
        for total in sums:
            store(total, 0, self.epilogue.bias(at.lane, lanes), lanes)
        top, left = at.h * conv.strides[0] - conv.pads[0], start * conv.strides[1] - conv.pads[1]
        first = let(conv.x.index(at.n, top, left, at.channel))
        packed = let(at.lane * (plan.kh * plan.kw))
        for row in range(plan.kh):
            # A row of the filter stays in registers for all columns of the tile.
            taps = [
                let(load(self.weights, packed + (row * plan.kw + tap) * lanes, lanes))
                for tap in range(plan.kw)
            ]
            for column, uses in plan.uses().items():
                source = first + row * conv.dilations[0] * conv.x.row + column * conv.x.c
                pixel = let(self._column(source, lanes))
                for output, tap in uses:
                    acc = load(sums[output], 0, lanes)
                    store(sums[output], 0, plan.mk.dot(acc, pixel, taps[tap], lanes), lanes)
        for output, total in enumerate(sums):
            w = start + output * plan.together
            y = let(conv.y.index(at.n, at.h, w, at.channel))
            other = None
            if conv.residual:
                other = let(conv.residual.tensor.index(at.n, at.h, w, at.channel))
            self.epilogue.emit(load(total, 0, lanes), at.lane, y, other, lanes, vector.valid)

    def _column(self, at: Index, lanes: int) -> Expr:
        """The channels of a pixel; of several, a stride apart, where pixels share a vector."""
        stride, c, together = self.plan.conv.strides[1], self.plan.conv.x.c, self.plan.together
        if together == 1 or stride == 1:
            return load(self.x, at, lanes)
        chosen = [pixel * stride * c + i for pixel in range(together) for i in range(c)]
        return shuffle([load(self.x, at, stride * lanes)], chosen)

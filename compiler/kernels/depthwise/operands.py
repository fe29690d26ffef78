"""What a depthwise convolution multiplies, and where its results go."""

from dataclasses import dataclass

from edgekiln.compiler.kernels.channels import Vector
from edgekiln.compiler.kernels.depthwise.plan import InterleavedPlan, Step
from edgekiln.compiler.kernels.epilogue.base import Epilogue
from edgekiln.compiler.kernels.tir import let
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, load, shuffle


@dataclass(frozen=True, kw_only=True)
class VectorPlace:
    """Where a vector of the channels of a band is."""

    vector: Vector
    n: Index  # image
    h: Index  # first output row
    channel: Index  # first channel
    lane: Index  # of the first channel, in the constants


@dataclass(frozen=True, kw_only=True)
class DepthwiseOperands:
    """What the two ways through a band have in common."""

    plan: InterleavedPlan
    x: Buffer
    weights: Buffer
    epilogue: Epilogue

    def first(self, at: VectorPlace, column: Index) -> Index:
        """Flat index of what the upper left tap of the output column reads."""
        conv = self.plan.conv
        top, left = at.h * conv.strides[0] - conv.pads[0], column * conv.strides[1] - conv.pads[1]
        first: Index = let(conv.x.index(at.n, top, left, at.channel))
        return first

    def interleaved(
        self, at: VectorPlace, first: Index, column: int, chunk: int, rows: int
    ) -> Expr:
        """A chunk of an image column, counted from `first`, for so many output rows: as `dot` takes
        it.
        """
        start, lanes = first + column * self.plan.conv.x.c, at.vector.lanes
        return self.plan.mk.interleave(self._image_rows(start, chunk, rows, lanes), lanes)

    def factors(self, lane: Index, lanes: int, step: Step, tap: int, start: int = 0) -> Index:
        """Flat index of the weights of a vector's lanes, from the lane `start` on."""
        plan = self.plan
        # The weights of a vector: [step][tap][lane][k_step].
        place = plan.steps.index(step) * plan.kw + tap
        vector = lane * (len(plan.steps) * plan.kw * plan.lane_elements)
        return vector + (place * lanes + start) * plan.lane_elements

    def finish(self, at: VectorPlace, lane: Index, row: int, column: Index, sums: Expr) -> None:
        """Store the results of a vector of pixels from `column` on, in a row of the band."""
        conv, vector, h = self.plan.conv, at.vector, at.h + row
        y = let(conv.y.index(at.n, h, column, at.channel))
        other = None
        if conv.residual:
            other = let(conv.residual.tensor.index(at.n, h, column, at.channel))
        # Interleaving may leave the lanes in another order; the epilogue undoes it.
        order = self.plan.mk.interleaved(vector.lanes)
        self.epilogue.emit(sums, lane, y, other, vector.lanes, vector.valid, order)

    def _image_rows(self, column: Index, chunk: int, rows: int, lanes: int) -> list[Expr]:
        """The chunk's rows of an image column; of several, a stride apart, where pixels share a
        vector.
        """
        plan, conv = self.plan, self.plan.conv
        step, size = conv.dilations[0] * conv.x.row, plan.mk.k_step
        # The last chunk of a band may have fewer rows.
        every = range(plan.height(rows))[chunk * size : (chunk + 1) * size]
        stride = conv.strides[1]
        if plan.together == 1 or stride == 1:
            return [load(self.x, column + row * step, lanes) for row in every]
        c = conv.x.c
        # One load brings the pixels between, too, and a shuffle drops them.
        chosen = [pixel * stride * c + at for pixel in range(plan.together) for at in range(c)]
        return [
            shuffle([load(self.x, column + row * step, stride * lanes)], chosen) for row in every
        ]

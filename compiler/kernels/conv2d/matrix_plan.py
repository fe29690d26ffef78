"""The numbers of a convolution on a matrix unit: its runs of pixels, its tile, its steps of k.

The rows of a left operand lie at equal distances in x. So do the pixels of a row of the output, and
where the stride is 1 those of a whole image, with the ends of the rows between them: these are
computed, too, and dropped.

    run of pixels  ├── down × rows ──┤├── down × rows ──┤├─ last tile begins earlier ─┤

    one tile:               columns   columns          k in steps of `depth` bytes:
                           ┌─────────┬─────────┐
         left operand 0    │  acc 0  │  acc 1  │       left:  rows × depth    (pixels)
                           ├─────────┼─────────┤       right: depth × columns (weights)
         left operand 1    │  acc 2  │  acc 3  │
                           └─────────┴─────────┘
                             right 0   right 1

    an image as one run, where the stride is 1:   ├ row 0 ┤··├ row 1 ┤··├ row 2 ┤
                                                  the pixels between rows (··) are dropped
"""

import math
from dataclasses import dataclass

from edgekiln.compiler.kernels import matrix
from edgekiln.compiler.kernels.channels import Vector, blocks
from edgekiln.compiler.kernels.conv2d.plan import Packing
from edgekiln.compiler.kernels.conv2d.spec import ConvolutionSpec
from edgekiln.compiler.kernels.matrix import MatrixTile
from edgekiln.targets.isa.base import MicroKernel

_MOST_UNROLLED = 12  # steps of k: their code stays in the cache of decoded instructions


@dataclass(frozen=True, kw_only=True)
class _Runs:
    """Pixels at equal distances in x: `count` runs of `pixels`."""

    count: int
    pixels: int
    pitch: int = 0  # from one row of y to the next, where a run is an image


class MatrixPlan(Packing):
    """The numbers of one convolution on a matrix unit.

    Attributes:
        tap_steps: steps of k in a tap.
        unrolled: whether all steps of k are code, rather than a loop.
        per_run: tiles in a run.
        work: items, each a tile.
    """

    def __init__(self, conv: ConvolutionSpec, mk: MicroKernel) -> None:
        super().__init__(conv, mk)
        assert mk.matrix
        self.unit = mk.matrix
        depth = matrix.depth(self.unit, self.run)
        self.tap_steps = math.ceil(self.run / depth)
        # As the packing counts them, in steps of the vectors' dot products.
        self.steps = self.tap_steps * depth // mk.k_step
        self.unrolled = self.taps * self.tap_steps <= _MOST_UNROLLED
        # Splits take turns within one iteration of the innermost loop.
        most_splits = self.taps * self.tap_steps if self.unrolled else self.tap_steps
        # Every way to cut the work, with every tile that it allows.
        ways = sorted(
            (
                (self._cycles(runs, tile), runs, tile)
                for runs in self._all_runs()
                for tile in matrix.tiles(self.unit, runs.pixels, self.oc, depth, most_splits)
            ),
            key=lambda way: way[0],
        )
        self.ranked = [(cycles, tile.choice) for cycles, _, tile in ways]
        chosen = conv.tile or self.ranked[0][1]
        # Of ways that are one choice, the cheapest stands for all.
        _, self.runs, self.tile = next(way for way in ways if way[-1].choice == chosen)
        self.layout = blocks(self._columns(self.tile), 1)
        self.per_run = math.ceil(self.runs.pixels / self.tile.pixels)
        self.work = self.runs.count * self.per_run

    def _all_runs(self) -> list[_Runs]:
        """The ways to see the output as runs of pixels at equal distances."""
        y, x = self.conv.y, self.conv.x
        if self.is_pointwise_and_dense():
            # The whole batch is one run, without anything to drop.
            return [_Runs(count=1, pixels=y.n * y.h * y.w)]
        found = [_Runs(count=y.n * y.h, pixels=y.w)]
        if self.conv.strides == (1, 1) and y.h > 1:
            # With stride 1 the rows of x follow each other at the same distance of pixels.
            pitch = x.row // x.c
            found.append(_Runs(count=y.n, pixels=(y.h - 1) * pitch + y.w, pitch=pitch))
        return found

    def _cycles(self, runs: _Runs, tile: MatrixTile) -> float:
        """The cycles of the whole convolution."""
        steps = self.taps * self.tap_steps
        # Accumulators beside each other, of each block of channels.
        widths = [v.lanes // self.unit.columns for v in self._columns(tile)]
        each = sum(tile.cycles(self.mk, across, steps) for across in widths)
        return each * self.conv.groups * runs.count * math.ceil(runs.pixels / tile.pixels)

    def _columns(self, tile: MatrixTile) -> tuple[Vector, ...]:
        return matrix.columns(self.oc, self.mk, tile.lanes)

"""The numbers of a depthwise convolution by multiply-adds: its vectors, its tile, its weights.

Nothing is interleaved where a lane takes one product at a time. A register tile is some output
columns of one row, and slides over the image columns that they need:

    image columns   0 1 2 3 4 5        for 3 taps, stride 1 and a tile of 4 output columns:
    output column 0 ├───┤              column 2 of the image is loaded once
    output column 1   ├───┤            and serves the taps 2, 1 and 0
    output column 2     ├───┤          of the output columns 0, 1 and 2
    output column 3       ├───┤
"""

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.channels import blocks, pack_channels, vectors
from edgekiln.compiler.kernels.depthwise.spec import DepthwiseSpec
from edgekiln.compiler.kernels.tile import Tile
from edgekiln.targets.isa.base import MicroKernel

_MOST_COLUMNS = 8  # of a tile: more would save little and make long code


class FmaPlan:
    """The numbers of one depthwise convolution on one instruction set.

    Attributes:
        together: pixels in a vector.
        layout: the vectors of channels, or of the channels of several pixels.
    """

    def __init__(self, conv: DepthwiseSpec, mk: MicroKernel) -> None:
        self.conv, self.mk = conv, mk
        self.kh: int = conv.weight.shape[2]
        self.kw: int = conv.weight.shape[3]
        most = mk.register
        self.together = conv.pixels_together(most)
        self.layout = blocks(vectors(conv.x.c * self.together, mk, most), 1)
        # The sums and a row of the filter stay in registers, beside one of the image.
        room = mk.registers - self.kw - 1
        columns = max(1, min(_MOST_COLUMNS, room, conv.y.w // self.together))
        self.tile = conv.tile or Tile(pixels=columns, vectors=1)

    @property
    def tiles(self) -> list[Tile]:
        """Every choice, the plan's own first, then what differs from it least."""
        return [Tile(pixels=columns, vectors=1) for columns in range(self.tile.pixels, 0, -1)]

    def per_lane(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """One number a channel in the order of the vectors."""
        return pack_channels(np.concatenate([values] * self.together), self.layout)

    def packed_weights(self) -> NDArray[np.generic]:
        """[vector][kh][kw][lane]; missing lanes are 0."""
        lanes = self.per_lane(self.conv.weight.reshape(-1, self.kh * self.kw))
        parts, start = [], 0
        for block in self.layout:
            for _ in range(block.count):
                stop = start + block.channels
                parts.append(lanes[start:stop].T.reshape(-1))
                start = stop
        return np.concatenate(parts)

    def uses(self) -> dict[int, list[tuple[int, int]]]:
        """Image column → (vector of output columns, tap) pairs that read it, from left to right."""
        uses: dict[int, list[tuple[int, int]]] = {}
        for output in range(self.tile.pixels):
            for tap in range(self.kw):
                column = output * self.together * self.conv.strides[1]
                column += tap * self.conv.dilations[1]
                uses.setdefault(column, []).append((output, tap))
        return dict(sorted(uses.items()))

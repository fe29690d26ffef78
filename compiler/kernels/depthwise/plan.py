"""The numbers of a depthwise convolution by dot products: its vectors, how many rows and columns of
the output are computed at once, and its weights in that order.

    a band of two output rows, 3×3, stride 1:          the factors of its rows, for one tap:

        image row 0  ┐                                     row 0   row 1
        image row 1  │ a chunk of four rows:        0        w0      0
        image row 2  │ interleaved, four bytes      1        w1      w0
        image row 3  ┘ a lane                       2        w2      w1
                                                    3        0       w2

So one interleaved column of the image serves both rows of the band; and, moving right, every tap
that reaches it:

        image columns   0 1 2 3 4        output column 0 multiplies columns 0, 1, 2 by the taps
        output column 0 ├───┤            0, 1, 2, and output column 1 the columns 1, 2, 3
        output column 1   ├───┤
"""

import math

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.channels import blocks, cover, expand, pack_channels, vectors
from edgekiln.compiler.kernels.depthwise.spec import DepthwiseSpec
from edgekiln.compiler.kernels.tile import Tile
from edgekiln.targets.isa.base import MicroKernel

_MOST_COLUMNS = 6  # of a tile: more would save little and make long code
_STEP_COLUMNS = 2  # of a step of a sweep: more would need more registers
_SWEPT_REGISTERS = 2  # of a vector: more would leave no room for the weights of two rows
_SPARE_REGISTERS = 10  # for the epilogue, and what the processor works on ahead of time

# Output row of a band, chunk of `k_step` image rows: one dot product for each tap.
Step = tuple[int, int]


class InterleavedPlan:
    """The numbers of one depthwise convolution on one instruction set.

    Output rows go in bands, and image rows in chunks of `k_step`, counted from a band's top.

    Attributes:
        lanes: of the widest vector.
        rows: of a band.
        steps: the chunks that each row of a band needs.
        columns: vectors of output columns that a tile, or a step of a sweep, computes.
        lane_elements: of a lane of an operand of a dot product, which is a word of four bytes.
        together: pixels in a vector.
        layout: the vectors of channels, or of the channels of several pixels.
    """

    def __init__(self, conv: DepthwiseSpec, mk: MicroKernel) -> None:
        self.conv, self.mk = conv, mk
        self.kh: int = conv.weight.shape[2]
        self.kw: int = conv.weight.shape[3]
        self.lane_elements = 4 // np.dtype(mk.activation).itemsize
        # Wider vectors would leave too few registers for columns.
        most = max(lanes for lanes in mk.lanes if mk.width(lanes) <= mk.depthwise_registers)
        if conv.tile and conv.tile.lanes:
            most = conv.tile.lanes
        self.lanes = most
        # Few channels: neighbouring pixels fill a vector.
        self.together = conv.pixels_together(most)
        channels = conv.x.c * self.together
        # Sweeps may waste lanes of wide vectors, whose epilogue costs less a lane.
        covering = cover if self.sweeps else vectors
        self.layout = blocks(covering(channels, mk, most), 1)
        self.rows = conv.tile.rows if conv.tile else self._shared_rows()
        self.steps = [(row, chunk) for row in range(self.rows) for chunk in self.chunks_of(row)]
        self.columns = self._columns()

    @property
    def sweeps(self) -> bool:
        """Whether rows are swept from left to right, not cut into tiles."""
        return self.mk.depthwise_rows > 1

    @property
    def tile(self) -> Tile:
        """The choice that leads to this plan."""
        return Tile(pixels=self.columns, vectors=1, lanes=self.lanes, rows=self.rows)

    def tiles(self) -> list[Tile]:
        """Every choice with vectors of these lanes."""
        # Longer tiles would make long code.
        sizes = range(1, min(self.conv.y.w // self.together, _MOST_COLUMNS) + 1)
        # One row at a time is a choice, too: it needs fewer registers.
        rows = sorted({1, self._shared_rows()})
        return [
            Tile(pixels=size, vectors=1, lanes=self.lanes, rows=count)
            for count in rows
            for size in sizes
        ]

    def height(self, rows: int) -> int:
        """How many image rows so many output rows need, a dilation apart."""
        return (rows - 1) * self.conv.strides[0] + self.kh

    def chunks_of(self, row: int) -> range:
        """The chunks that an output row needs."""
        first = row * self.conv.strides[0]
        return range(first // self.mk.k_step, math.ceil((first + self.kh) / self.mk.k_step))

    def image_columns(self, output: int) -> list[int]:
        """Where each tap finds its column, for a vector of output columns."""
        first = output * self.together * self.conv.strides[1]
        return [first + tap * self.conv.dilations[1] for tap in range(self.kw)]

    def parts(self, lanes: int) -> int:
        """How many parts of a vector are swept one after the other."""
        return max(1, self.mk.width(lanes) // _SWEPT_REGISTERS) if self.rows > 1 else 1

    def in_registers(self, lanes: int, rows: int) -> bool:
        """Whether a sweep over so many rows of a band keeps its weights in registers."""
        chunks = self.chunks_of(rows - 1).stop
        # Weights, the columns that are kept and the one that comes, and a sum.
        live = len(self.steps) * self.kw + (len(self.kept(1)) + 1) * chunks + 1
        width = self.mk.width(lanes // self.parts(lanes))
        return live * width + _SPARE_REGISTERS <= self.mk.registers

    def uses(self, size: int) -> dict[int, list[tuple[int, int]]]:
        """Image column → (vector of output columns, tap) pairs that read it, from left to right."""
        uses: dict[int, list[tuple[int, int]]] = {}
        for output in range(size):
            for tap, column in enumerate(self.image_columns(output)):
                uses.setdefault(column, []).append((output, tap))
        return dict(sorted(uses.items()))

    def seen(self, size: int) -> set[int]:
        """The image columns that so many vectors of output columns need."""
        return {column for output in range(size) for column in self.image_columns(output)}

    def kept(self, size: int) -> list[int]:
        """Those of `seen` that the vectors of output columns before them have seen, too."""
        ahead, seen = self.ahead(size), self.seen(size)
        return sorted(column for column in seen if column + ahead in seen)

    def ahead(self, size: int) -> int:
        """How many image columns further the next vectors of output columns begin."""
        return size * self.together * self.conv.strides[1]

    def per_lane(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """One number a channel in the order in which interleaving leaves the lanes."""
        repeated = np.concatenate([values] * self.together)
        return pack_channels(repeated, self.layout, self.mk.interleaved)

    def packed_weights(self) -> NDArray[np.int8] | NDArray[np.int16]:
        """The weights in the order [vector][step][kw][lane][k_step]; those of missing rows and
        lanes are 0.
        """
        filters = np.stack([self._factors(step) for step in self.steps], axis=1)
        lanes: NDArray[np.int8] = self.per_lane(filters).astype(np.int8, copy=False)
        parts, start = [], 0
        for block in self.layout:
            for (vector,) in expand(block):
                part = lanes[start : start + vector.lanes].transpose(1, 2, 0, 3)
                parts.append(self.mk.arrange(part).reshape(-1))
                start += vector.lanes
        return np.concatenate(parts)

    def _factors(self, step: Step) -> NDArray[np.int8]:
        """What an output row multiplies a chunk's rows by: (C, KW, k_step)."""
        row, chunk = step
        width, first = self.mk.k_step, row * self.conv.strides[0]
        rows = max(self.chunks_of(row).stop * width, first + self.kh)
        # Above and below the filter its factors are 0.
        padded = np.zeros((len(self.conv.weight), rows, self.kw), np.int8)
        padded[:, first : first + self.kh] = self.conv.weight[:, 0]
        return padded[:, chunk * width : (chunk + 1) * width].transpose(0, 2, 1)

    def _shared_rows(self) -> int:
        """How many rows a band has: several where they have most image rows in common."""
        conv = self.conv
        shares = conv.strides[0] == 1 and conv.dilations[0] == 1 and self.kh > 1
        return min(self.mk.depthwise_rows, conv.y.h) if shares else 1

    def _columns(self) -> int:
        """How many vectors of output columns are computed at once."""
        every = self.conv.y.w // self.together
        if self.conv.tile:
            return min(self.conv.tile.pixels, every)
        # A sweep hands columns on from step to step, and needs no long ones.
        if self.sweeps:
            return min(self._step_columns(every), every)

        costs = self.mk.loop_costs

        def cost(size: int) -> float:
            """Prefer enough columns to reuse those of the image."""
            tiles = math.ceil(self.conv.y.w / (size * self.together))
            results = size * (self.kw + costs.result_dots)
            return tiles * (results + costs.interleave_dots * len(self.seen(size)))

        return min(range(1, min(every, _MOST_COLUMNS) + 1), key=cost)

    def _step_columns(self, every: int) -> int:
        """Two where they share image columns in registers, or weights that must be loaded."""
        if self.in_registers(self.lanes, self.rows):
            return 1 if every % _STEP_COLUMNS or not self.kept(1) else _STEP_COLUMNS
        chunks = self.chunks_of(self.rows - 1).stop
        live = len(self.seen(_STEP_COLUMNS)) * chunks + _STEP_COLUMNS
        width = self.mk.width(self.lanes // self.parts(self.lanes))
        return _STEP_COLUMNS if live * width <= self.mk.registers else 1

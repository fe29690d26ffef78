"""The numbers of a convolution by Winograd's filtering: its blocks of tiles, its packed weights.

The output is cut into tiles of 4×4 results, each of which depends on a window of 6×6 pixels:

    image       0 1 2 3 4 5 6 7 8 9 …           window 1 begins 4 pixels behind window 0
    window 0    ├─────────┤                     and has two columns in common with it
    window 1            ├─────────┤
    output          ├─ 4 ─┤├─ 4 ─┤              the last tile of a row begins earlier

    of a work item:  size × window  ──transform──▶  36 points × size × input channels
                                                      │ for each vector of output channels
                                                      ▼ and each column of 6 points:
                                    6 points × group tiles of sums, in registers
                                                      │ transform of columns
                                                      ▼
                                    4 × 6 × size × lanes, in a scratch memory
                                                      │ transform of rows, epilogue
                                                      ▼
                                    size × 4×4 results
"""

import math
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.channels import (
    Vector,
    blocks,
    distinct_lanes,
    expand,
    pack_channels,
    vectors,
)  # fmt: skip
from edgekiln.compiler.kernels.conv2d import winograd
from edgekiln.compiler.kernels.conv2d.spec import ConvolutionSpec
from edgekiln.compiler.kernels.conv2d.winograd import FILTER, POINTS, TILE, WINDOW
from edgekiln.compiler.kernels.tile import Tile
from edgekiln.targets.isa.base import MicroKernel

MOST_SCRATCH_BYTES = 640 << 10  # the scratch memories lie on the stack
# Groups of tiles that an item may transform before it multiplies: more reuse the weights more often
# and need more scratch memory.
_GROUPS = (1, 2, 4, 8)


def applies(conv: ConvolutionSpec, mk: MicroKernel) -> bool:
    """Whether a convolution may be computed so: of integers, if the bits stay the same."""
    y, channels = conv.y, conv.weight.shape[1]
    plain = conv.strides == conv.dilations == (1, 1) and conv.groups == 1
    small = conv.weight.shape[2:] == (FILTER, FILTER) and min(y.h, y.w) >= TILE
    # Fewer channels than a vector would leave the transforms half empty.
    if mk.filtering is None or not (plain and small and channels >= min(_widths(mk))):
        return False
    fits = _scratch_bytes(mk, channels, 1, mk.register, compact=True) <= MOST_SCRATCH_BYTES
    return fits and winograd.is_exact(conv.weight)


def _scratch_bytes(mk: MicroKernel, channels: int, tiles: int, lanes: int, *, compact: bool) -> int:
    """Bytes of the windows, of sums that are half transformed, and of weights.

    Args:
        channels: of the input.
        lanes: of a vector of output channels.
    """
    assert mk.filtering
    point = math.ceil(channels / mk.filtering.k_step) * mk.filtering.k_step
    # Bytes of a point of one tile.
    point *= np.dtype(mk.filtering.activation).itemsize
    weights = POINTS * point * min(lanes, mk.register) if compact else 0
    return tiles * (POINTS * point + 4 * TILE * WINDOW * lanes) + weights


def _widths(mk: MicroKernel) -> tuple[int, ...]:
    """How many elements the vectors have that transform windows, widest first."""
    assert mk.filtering
    lanes = (lanes for lanes in mk.lanes if lanes <= mk.register)
    return tuple(mk.filtering.k_step * each for each in lanes)


class WinogradPlan:
    """The numbers of one convolution by tiles of 4×4 results.

    Attributes:
        down, across: tiles of an image.
        every: how many tiles there are.
        depth: elements of a point: the input channels, padded to whole steps.
        group: tiles whose sums are in registers at once.
        size: tiles of an item.
        shares: items that have the same tiles, and other output channels.
        together: pixels whose results leave as one vector.
    """

    def __init__(self, conv: ConvolutionSpec, mk: MicroKernel) -> None:
        assert mk.filtering
        self.conv, self.mk, self.products = conv, mk, mk.filtering
        y = conv.y
        self.oc, self.ic = conv.weight.shape[:2]
        self.widths = _widths(mk)
        self.down, self.across = math.ceil(y.h / TILE), math.ceil(y.w / TILE)
        self.every = y.n * self.down * self.across
        self.k_steps = math.ceil(self.ic / self.products.k_step)
        self.depth = self.k_steps * self.products.k_step
        # The choice: tiles at once, groups of them, lanes, and how weights lie.
        tile = conv.tile or self.ranked[0][1]
        self.layout = blocks(self._columns(tile), 1)
        self.compact = tile.compact
        self.group = tile.pixels
        self.size = self._size(tile)
        # Items are blocks of tiles, and where blocks of channels are alike, of these, too.
        self.shares = self.layout[0].count if len(self.layout) == 1 else 1
        self.work = math.ceil(self.every / self.size) * self.shares
        # They can where one vector is all of a pixel.
        (vector,) = self.layout[0].vectors
        alone = self.oc == vector.lanes == y.pixel
        self.together = min(TILE, mk.lanes[0] // self.oc) if alone else 1

    def _columns(self, tile: Tile) -> tuple[Vector, ...]:
        """The vectors of output channels."""
        return vectors(self.oc, self.mk, tile.lanes)

    @cached_property
    def ranked(self) -> list[tuple[float, Tile]]:
        """Every way to cut the work and its cycles, the cheapest first."""
        # A column of six sums a tile stays in registers, beside a pixel and a weight.
        most = min((self.mk.registers - 2) // WINDOW, self.every)
        every = [
            Tile(pixels=group, vectors=count, lanes=lanes, algorithm="winograd", compact=compact)
            for group, count in product(range(1, most + 1), _GROUPS)
            for lanes in distinct_lanes(self.oc, self.mk)
            for compact in ((True,) if self.conv.compact else (False, True))
            # More groups than there are tiles for would be the same as fewer.
            if group * (count - 1) < self.every
        ]
        costs = [(self._cycles(tile), tile) for tile in every if self._fits(tile)]
        return sorted(costs, key=lambda way: way[0])

    def _fits(self, tile: Tile) -> bool:
        """Whether the scratch memories are small enough for the stack."""
        widest = max(vector.lanes for vector in self._columns(tile))
        needed = _scratch_bytes(self.mk, self.ic, self._size(tile), widest, compact=tile.compact)
        return needed <= MOST_SCRATCH_BYTES

    def _size(self, tile: Tile) -> int:
        """How many tiles an item has."""
        return min(tile.pixels * tile.vectors, self.every)

    def _cycles(self, tile: Tile) -> float:
        """The cycles of the whole convolution, roughly."""
        mk, costs = self.mk, self.mk.filtering_costs
        registers = sum(self.mk.width(v.lanes) for v in self._columns(tile))
        size = self._size(tile)
        windows = costs.window_cycles * self.ic / self.widths[0]
        results = sum(
            mk.width(v.lanes) * (costs.result_cycles + TILE * TILE * mk.epilogue_cost(v.lanes))
            for v in self._columns(tile)
        )
        # Of a group of tiles and a column of six points: products, and what they load.
        dots = WINDOW * tile.pixels / self.products.dots_per_cycle
        loads = WINDOW * (tile.pixels + 1) / mk.loop_costs.loads_per_cycle
        each = self.k_steps * max(dots, loads) + costs.product_cycles
        products = math.ceil(size / tile.pixels) * WINDOW * registers * each
        if tile.compact:
            products += registers * self.k_steps * costs.weight_cycles
        weights = self.conv.weight.nbytes
        if not tile.compact:
            weights = np.dtype(self.products.activation).itemsize * POINTS * self.depth * self.oc
        if weights > costs.far_bytes:
            products = max(products, weights / costs.memory_bytes_per_cycle)
        items = math.ceil(self.every / size)
        cycles: float = items * (size * (windows + results) + products)
        return cycles

    def part(self, lanes: int) -> int:
        """How many lanes of a vector fill a register."""
        return min(lanes, self.mk.register)

    def packed_weights(self) -> NDArray[np.generic]:
        """The weights in the order [vector][register][column of points][step][row of points][lane]
        [k_step]; compact ones in [vector][register][step][row of the filter][column][lane][k_step].
        """
        filters = self.conv.weight
        weight: NDArray[np.generic] = filters
        if not self.compact:
            weight = winograd.transformed_weights(filters)
        values = weight.reshape(self.oc, self.ic, -1)
        padded = np.zeros((self.oc, self.depth, values.shape[2]), values.dtype)
        padded[:, : self.ic] = values
        lanes, start, parts = pack_channels(padded, self.layout), 0, []
        for block in self.layout:
            for (vector,) in expand(block):
                own = lanes[start : start + vector.lanes].reshape(
                    -1, self.part(vector.lanes), self.k_steps, self.products.k_step, *self._points
                )
                # From register, lane, step, k_step, row, column.
                order = (0, 2, 4, 5, 1, 3) if self.compact else (0, 5, 2, 4, 1, 3)
                parts.append(own.transpose(order).reshape(-1))
                start += vector.lanes
        return np.concatenate(parts)

    @property
    def _points(self) -> tuple[int, int]:
        """Rows and columns of the weights in memory: points, or the filter's own."""
        return (FILTER, FILTER) if self.compact else (WINDOW, WINDOW)

    def per_lane(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """One number a channel in the order of the vectors, once for each of the pixels that leave
        together.
        """
        return np.concatenate([pack_channels(values, self.layout)] * self.together)

"""The numbers of a product of activations: its tile, its blocks of columns.

          k                 n columns                      n columns
      ┌───────┐        ┌──────┬──────┬───┐            ┌──────┬──────┬───┐
    m │ row 0 │        │      │      │   │      rows  │ tile │ tile │   │
      │ row 1 │    k   │block │block │ … │      of a  │      │      │ … │
      │ row 2 │        │  0   │  1   │   │      tile  ├──────┼──────┼───┤
      └───────┘        └──────┴──────┴───┘            │      │      │   │
          a              b, packed                         y

A work item is a tile's rows in every block of columns of one matrix. b is packed block by block, as
a convolution's weights are, with the sums of its columns behind:

    block:  [step 0: vector 0 │ vector 1] [step 1: …] … [-z_a·Σ b of each lane, int32]
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels import matrix
from edgekiln.compiler.kernels.channels import Block, blocks, vectors
from edgekiln.compiler.kernels.matmul.spec import MatMulSpec
from edgekiln.compiler.kernels.matrix import MatrixTile
from edgekiln.compiler.kernels.tile import Tile, alternating, ranked
from edgekiln.compiler.kernels.tir import let, repeat
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Buffer, Index
from edgekiln.targets.isa.matrix import MatrixUnit

# A block of columns, where its packed bytes are, and its first column.
PlacedBlock = tuple[Block, Index, Index]


@dataclass(frozen=True)
class MatMulOperands:
    """What a product reads."""

    a: Buffer
    packed: Buffer  # b
    zero: Buffer  # z_b, one int32


class PackedPlan:
    """The numbers of one product of codes on one instruction set.

    Attributes:
        tiles: every choice, the default first.
        tile: of the matrix unit; None where vectors compute.
        steps: of `k_step` codes, without the one behind them.
        layout: blocks of columns.
    """

    def __init__(self, product: MatMulSpec, mk: MicroKernel) -> None:
        self.product, self.mk = product, mk.single
        mk = self.mk
        # Rows of a product are lone pixels: `single` has one an accumulator.
        self.steps = math.ceil(product.k / mk.k_step)
        on_vectors = self._ranked()
        on_unit = self._ranked_on_unit(mk.matrix) if mk.matrix else []
        self.tiles = alternating(on_vectors, [(cost, tile.choice) for cost, tile in on_unit])
        # The choice stands for a tile of vectors or for one of the unit.
        chosen = product.tile or self.tiles[0]
        self.rows, self.splits = chosen.pixels, chosen.splits
        self.tile = next((tile for _, tile in on_unit if tile.choice == chosen), None)
        if self.tile is None:
            self.layout = blocks(vectors(product.n, mk, chosen.lanes), chosen.vectors)
        else:
            # The unit's steps, counted as the packing counts them.
            self.steps = math.ceil(product.k / self.tile.depth) * self.tile.depth // mk.k_step
            self.layout = blocks(matrix.columns(product.n, mk, self.tile.lanes), 1)

    def _ranked(self) -> list[tuple[float, Tile]]:
        """Every tile of vectors and its cycles, the cheapest first."""
        product = self.product
        return ranked(self.mk, pixels=product.m, channels=product.n, k_steps=self.steps)

    def _ranked_on_unit(self, unit: MatrixUnit) -> list[tuple[float, MatrixTile]]:
        """Every tile of the matrix unit and its cycles, the cheapest first."""
        m, k, n = self.product.m, self.product.k, self.product.n
        depth = matrix.depth(unit, k)
        steps = math.ceil(k / depth)

        def cycles(tile: MatrixTile) -> float:
            """Count the cycles of one matrix, roughly."""
            # Accumulators beside each other, of each block of columns.
            widths = [v.lanes // unit.columns for v in matrix.columns(n, self.mk, tile.lanes)]
            each = sum(tile.cycles(self.mk, across, steps) for across in widths)
            return each * math.ceil(m / tile.pixels)

        # One more accumulator in every row is for Σ a.
        tiles = matrix.tiles(unit, m, n, depth, steps, extra=1)
        return sorted(((cycles(tile), tile) for tile in tiles), key=lambda choice: choice[0])

    def tile_ones(self) -> NDArray[np.int8]:
        """Right operands that sum a row: for each step but the last, then for the last one."""
        assert self.tile
        depth, columns = self.tile.depth, self.tile.unit.columns
        # Behind k the last step's ones are zeros: what is read there of a counts nothing.
        last = np.arange(depth) < self.product.k - (self.product.k - 1) // depth * depth
        words = np.array([np.ones(depth, bool), last]).reshape(2, -1, 1, self.mk.k_step)
        return np.broadcast_to(words, (*words.shape[:2], columns, self.mk.k_step)).astype(np.int8)

    @cached_property
    def matrix_bytes(self) -> int:
        """Bytes of one packed matrix: [block][step][vector][lane][k_step], and one step more."""
        lanes = sum(block.count * block.channels for block in self.layout)
        return lanes * (self.steps + 1) * self.mk.k_step

    @property
    def shifted_zero_point(self) -> int:
        """The zero point of b when its codes are shifted to int8."""
        return self.product.zero_points[1] - (128 if self.mk.activation == "uint8" else 0)

    def blocks(self, matrix: Index) -> Iterator[PlacedBlock]:
        """Every block of columns of a matrix, inside loops where blocks are alike."""
        start = 0
        for block in self.layout:
            # The sums of columns lie behind each block.
            size = block.channels * (self.steps + 1) * self.mk.k_step
            with repeat(block.count) as i:
                at = let(matrix * self.matrix_bytes + i * size + start)
                yield block, at, let(i * block.channels + block.vectors[0].start)
            start += block.count * size


class UnpackedPlan:
    """The numbers of one product whose right operand is read as it lies: of floats."""

    def __init__(self, product: MatMulSpec, mk: MicroKernel) -> None:
        self.product, self.mk = product, mk
        self.tile = product.tile or self.tiles[0]

    @cached_property
    def tiles(self) -> list[Tile]:
        """Every tile, the cheapest first."""
        product = self.product
        found = ranked(self.mk, pixels=product.m, channels=product.n, k_steps=product.k)
        return [tile for _, tile in found]

    def blocks(self) -> Iterator[tuple[Block, Index]]:
        """Every block of columns and its first column, inside loops where blocks are alike."""
        columns = vectors(self.product.n, self.mk, self.tile.lanes)
        for block in blocks(columns, self.tile.vectors):
            with repeat(block.count) as i:
                yield block, let(block.vectors[0].start + i * block.channels)

"""The numbers of a product of activations: its tile, its blocks of columns; and how b is packed."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.kernels import matrix
from edgekiln.compiler.kernels.channels import Block, blocks, vectors
from edgekiln.compiler.kernels.matrix import MatrixTile
from edgekiln.compiler.kernels.tile import Tile, in_turn, ranked
from edgekiln.compiler.kernels.tir import (
    Buffer,
    Index,
    bind,
    cast,
    const,
    load,
    register,
    reinterpret,
    store,
    turns,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, MicroKernel, splat
from edgekiln.targets.isa.matrix import MatrixUnit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.compiler.kernels.matmul import MatMul

_TOP_BIT = 0x80  # of a byte: flipping it turns unsigned codes into signed ones


@dataclass(frozen=True)
class Operands:
    """What a product reads."""

    a: Buffer
    packed: Buffer
    zero: Buffer  # z_b


class Plan:
    """The numbers of one product on one instruction set."""

    def __init__(self, product: "MatMul", mk: MicroKernel) -> None:
        self.product, self.mk = product, mk.single
        mk = self.mk
        self.steps = math.ceil(product.k / mk.k_step)
        on_vectors = self._ranked()
        on_unit = self._ranked_on_unit(mk.matrix) if mk.matrix else []
        self.tiles = in_turn(on_vectors, [(cost, tile.choice) for cost, tile in on_unit])
        chosen = product.tile or self.tiles[0]
        self.rows, self.splits = chosen.pixels, chosen.splits
        self.tile = next((tile for _, tile in on_unit if tile.choice == chosen), None)
        if self.tile is None:
            self.layout = blocks(vectors(product.n, mk, chosen.lanes), chosen.vectors)
        else:
            self.steps = math.ceil(product.k / self.tile.depth) * self.tile.depth // mk.k_step
            self.layout = blocks(matrix.columns(product.n, mk, self.tile.lanes), 1)

    def _ranked(self) -> list[tuple[float, Tile]]:
        """Every tile of vectors and its cycles, the cheapest first."""
        # A row's sum of codes takes a register, like what the row itself does.
        mk = replace(self.mk, pixel_registers=self.mk.pixel_registers + 1)
        product = self.product
        return ranked(mk, pixels=product.m, channels=product.n, k_steps=self.steps)

    def _ranked_on_unit(self, unit: MatrixUnit) -> list[tuple[float, MatrixTile]]:
        """Likewise, of the matrix unit."""
        m, k, n = self.product.m, self.product.k, self.product.n
        depth = matrix.depth(unit, k)
        steps = math.ceil(k / depth)

        def cycles(tile: MatrixTile) -> float:
            widths = [v.lanes // unit.columns for v in matrix.columns(n, self.mk, tile.lanes)]
            each = sum(tile.cycles(self.mk, across, steps) for across in widths)
            return each * math.ceil(m / tile.pixels)

        tiles = matrix.tiles(unit, m, n, depth, steps, beside=1)
        return sorted(((cycles(tile), tile) for tile in tiles), key=lambda choice: choice[0])

    def tile_ones(self) -> "NDArray[np.int8]":
        """Right operands that sum a row: for each step but the last, then for the last one."""
        assert self.tile
        depth, columns = self.tile.depth, self.tile.unit.columns
        last = np.arange(depth) < self.product.k - (self.product.k - 1) // depth * depth
        words = np.array([np.ones(depth, bool), last]).reshape(2, -1, 1, self.mk.k_step)
        return np.broadcast_to(words, (*words.shape[:2], columns, self.mk.k_step)).astype(np.int8)

    @cached_property
    def matrix_bytes(self) -> int:
        """[block][step][vector][lane][4], the last step being -z_a·Σ b."""
        lanes = sum(block.count * block.channels for block in self.layout)
        return lanes * (self.steps + 1) * self.mk.k_step

    @property
    def shifted_zero_point(self) -> int:
        """z_b of the codes as int8."""
        return self.product.zero_points[1] - (128 if self.mk.activation == "uint8" else 0)

    def blocks(self, matrix: Index) -> Iterator[tuple[Block, Index, Index]]:
        """Every block of columns, its packed bytes and its first column."""
        start = 0
        for block in self.layout:
            size = block.channels * (self.steps + 1) * self.mk.k_step
            with turns(block.count) as i:
                at = bind(matrix * self.matrix_bytes + i * size + start)
                yield block, at, bind(i * block.channels + block.vectors[0].start)
            start += block.count * size

    def pack(
        self, b: Buffer, packed: Buffer, zero: Buffer, block: Block, to: Index, source: Index
    ) -> None:
        """One block: each vector's steps, then its -z_a·Σ b."""
        width = self.mk.k_step
        lane = 0
        for vector in block.vectors:
            first = (vector.start - block.vectors[0].start) * self.product.b.column
            place = bind(to + lane * width)
            lanes = vector.lanes
            sums = register("int32", lanes)
            store(sums, 0, splat(const(0), lanes), lanes)
            for step, depth in self._steps():
                at = bind(source + first + step * (width * self.product.b.row))
                rows = [self._codes(b, at + i * self.product.b.row, lanes) for i in range(depth)]
                self._pack_step(packed, place + step * (block.channels * width), rows, sums, lanes)
            self._pack_nothing(packed, place, block, lanes)
            term = load(sums, 0, lanes) * splat(load(zero, 0), lanes)
            at = place + self.steps * (block.channels * width)
            store(packed, at, reinterpret(term, "int8", lanes * width), lanes * width)
            lane += lanes

    def _steps(self) -> Iterator[tuple[Index, int]]:
        """Each step and how many k it has: the whole ones in a loop."""
        whole, rest = divmod(self.product.k, self.mk.k_step)
        if whole:
            with turns(whole) as i:
                yield i, self.mk.k_step
        if rest:
            yield whole, rest

    def _pack_step(
        self, packed: Buffer, to: Index, rows: list[Expr], sums: Buffer, lanes: int
    ) -> None:
        """Up to four rows side by side, as int8; and their sums."""
        mk, count = self.mk, lanes * self.mk.k_step
        if mk.activation == "uint8":
            rows = [row ^ splat(cast(const(_TOP_BIT), "uint8"), lanes) for row in rows]
        codes = bind(reinterpret(mk.interleave(rows, lanes), "int8", count))
        store(packed, to, codes, count)
        ones = splat(cast(const(1), mk.activation), count)
        store(sums, 0, mk.dot(load(sums, 0, lanes), ones, codes, lanes), lanes)

    def _pack_nothing(self, packed: Buffer, place: Index, block: Block, lanes: int) -> None:
        """Zeros in the steps that k does not reach."""
        width = self.mk.k_step
        first = math.ceil(self.product.k / width)
        zeros = splat(cast(const(0), "int8"), lanes * width)
        for step in range(first, self.steps):
            store(packed, place + step * (block.channels * width), zeros, lanes * width)

    def _codes(self, b: Buffer, at: Index, lanes: int) -> Expr:
        """One code of each of the columns from `at` on."""
        column = self.product.b.column
        if column == 1:
            return load(b, at, lanes)
        gathered = register(self.mk.activation, lanes)
        for lane in range(lanes):
            # Lanes without a column repeat the last one; their sums are never stored.
            store(gathered, lane, load(b, at + min(lane, self.product.n - 1) * column))
        return load(gathered, 0, lanes)

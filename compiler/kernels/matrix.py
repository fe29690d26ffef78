"""Tiles of a matrix unit: how many of its registers one inner loop fills, and that loop's code."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.channels import Vector, vectors
from edgekiln.compiler.kernels.tile import Tile
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Buffer, Index
from edgekiln.targets.isa.matrix import MatrixUnit

_WORD = 4  # bytes of k that meet in one int32
_MOST_ACROSS = 4  # accumulators beside each other: their results leave as one vector of 64 lanes


class RegisterPlace(NamedTuple):
    """Where a register's rows lie."""

    buffer: Buffer
    at: Index
    stride: int  # bytes


@dataclass(frozen=True, kw_only=True)
class MatrixTile:
    """`down` × `across` accumulators, each `splits` times, as registers of the unit.

                        extra    across
        left operand 0   [Σ a]   [acc] [acc]       the right operands stream past: one register
        left operand 1   [Σ a]   [acc] [acc]       of weights is loaded for each column, and is
                                                   multiplied by every left operand

    Splits are partial sums over k. They hide the product's latency where there are few
    accumulators.

    Args:
        rows: pixels of an accumulator.
        depth: bytes of k that one product takes.
        extra: accumulators before those, in every row, that are no results.
    """

    unit: MatrixUnit
    rows: int
    down: int
    across: int
    splits: int
    depth: int
    extra: int = 0

    @property
    def pixels(self) -> int:
        """How many the tile computes."""
        return self.down * self.rows

    @property
    def lanes(self) -> int:
        """How many channels the widest block has."""
        return self.across * self.unit.columns

    @property
    def _sums(self) -> int:
        """How many accumulators there are."""
        return self.down * (self.extra + self.across) * self.splits

    @property
    def choice(self) -> Tile:
        """The tile as a layer's choice, for which it stands together with how the layer is cut."""
        return Tile(pixels=self.pixels, vectors=self.across, splits=self.splits, algorithm="matrix")

    def fits(self) -> bool:
        """Whether accumulators, left operands and one right operand have a register each."""
        return self._sums + self.down + 1 <= self.unit.registers

    def accumulator(self, split: int, row: int, column: int) -> int:
        """The number of its register."""
        return (split * self.down + row) * (self.extra + self.across) + column

    def configuration(self) -> NDArray[np.uint8]:
        """What the unit is configured with: accumulators, then left operands, then right ones."""
        rights = self.unit.registers - self._sums - self.down
        word_rows = self.depth // _WORD
        return self.unit.configuration(
            [(self.rows, self.unit.columns * _WORD)] * self._sums
            + [(self.rows, self.depth)] * self.down
            + [(word_rows, self.unit.columns * _WORD)] * rights
        )

    def multiply(
        self, split: int, lefts: Sequence[RegisterPlace], rights: Sequence[RegisterPlace]
    ) -> None:
        """Emit a step of k for every accumulator of a split. `rights` may be fewer than across."""
        first_left = self._sums
        first_right = first_left + self.down
        for row, place in enumerate(lefts):
            self.unit.load(first_left + row, *place)
        for column, place in enumerate(rights):
            # Registers for right operands are used in turn, so that loads overlap with products.
            right = first_right + column % (self.unit.registers - first_right)
            self.unit.load(right, *place)
            for row in range(self.down):
                self.unit.dot(self.accumulator(split, row, column), first_left + row, right)

    def cycles(self, mk: MicroKernel, across: int, steps: int) -> float:
        """The cycles of one tile, roughly: of its products, while the results of another one leave.

        Args:
            across: results beside each other that are in use.
            steps: of k.
        """
        unit, lanes = self.unit, across * self.unit.columns
        loads = (self.down * self.rows / unit.rows + self.extra) * unit.load_cycles
        loads += across * self.depth / unit.row_bytes * unit.stream_cycles
        sums = self.down * (self.extra + across)
        latency = unit.dot_latency / min(self.splits, steps)
        products = steps * max(sums * unit.dot_cycles, loads, latency)
        epilogue = self.pixels * mk.width(lanes) * mk.epilogue_cost(lanes)
        epilogue += sums * self.splits * unit.store_cycles
        return max(products, epilogue) + unit.tile_cycles


def columns(channels: int, mk: MicroKernel, lanes: int) -> tuple[Vector, ...]:
    """The channels as vectors of whole accumulators, up to `lanes` wide."""
    assert mk.matrix
    size = mk.matrix.columns
    return vectors(channels, replace(mk, lanes=tuple(n for n in mk.lanes if n >= size)), lanes)


def depth(unit: MatrixUnit, run: int) -> int:
    """How many bytes of k a step takes: `run` bytes in as few steps as there can be, all alike."""
    return _WORD * math.ceil(run / (_WORD * math.ceil(run / unit.row_bytes)))


def tiles(
    unit: MatrixUnit, pixels: int, channels: int, depth: int, steps: int, extra: int = 0
) -> Iterator[MatrixTile]:
    """Yield every tile that fits in the registers and in a run of `pixels`, has no more splits than
    there are steps, and is no wider than `channels` need.
    """
    widths = [n for n in (1, 2, _MOST_ACROSS) if n == 1 or n // 2 * unit.columns < channels]
    for down, across, splits in product((1, 2, 3), widths, (1, 2, 4)):
        # Even shares of the run, rather than full registers and a rest.
        count = math.ceil(pixels / (down * unit.rows))
        rows = math.ceil(pixels / (down * count))
        tile = MatrixTile(
            unit=unit, rows=rows, down=down, across=across, splits=splits, depth=depth,
            extra=extra,
        )  # fmt: skip
        if tile.fits() and tile.pixels <= pixels and splits <= steps:
            yield tile

"""The numbers of a depthwise convolution by products of pairs: rows of an image column go in pairs.

Two rows of a column make a word, which one instruction multiplies by a word of two weights, for one
channel. An output row whose first row is the upper half of a word takes other pairs of weights than
one whose first row is the lower half, and a row that is alone in its word is one product:

    a band of two output rows, 3×3:      output row 0           output row 1

    image row 0  ┐ word 0                (w0, w1)                ·
    image row 1  ┘                                               w0, the lower half of (w0, w1)
    image row 2  ┐ word 1                w2, the upper half      (w1, w2)
    image row 3  ┘                       of (w1, w2)

So two words of weights a tap serve both rows of a band, and the words of a column every tap that
reaches it.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.depthwise.plan import InterleavedPlan
from edgekiln.compiler.kernels.depthwise.spec import DepthwiseSpec
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.halfwords import Half

_ROW_CYCLES = 1.5  # to load a row of a column, and its share of packing a pair
_RESULT_CYCLES = 5.0  # of an epilogue
_TILE_CYCLES = 14.0  # addresses and the loop
_MOST_COLUMNS = 6  # of a tile: more would save little and make long code

WeightPair = tuple[int, int | None]  # rows of the filter; None: no weight


@dataclass(frozen=True, kw_only=True)
class Term:
    """What an output row takes of a word of an image column.

    Args:
        word: of the column.
        weights: which of `pairs`.
        halves: of word and weights, one product; None: both halves of both, two.
    """

    word: int
    weights: int
    halves: tuple[Half, Half] | None


class PairsPlan(InterleavedPlan):
    """The numbers of one depthwise convolution on what multiplies pairs of 16 bits."""

    def __init__(self, conv: DepthwiseSpec, mk: MicroKernel) -> None:
        assert mk.halfwords
        self.halfwords = mk.halfwords
        super().__init__(conv, mk)

    @property
    def sweeps(self) -> bool:
        return False

    def words(self, rows: int) -> list[tuple[int, ...]]:
        """The image rows of each word of a column, for so many output rows: two, or a last one."""
        height = self.height(rows)
        return [tuple(range(at, min(at + 2, height))) for at in range(0, height, 2)]

    @cached_property
    def pairs(self) -> list[WeightPair]:
        """The pairs of weights that a column of the filter has in memory, by its rows."""
        whole: set[WeightPair] = set()
        alone: set[int] = set()
        for row in range(self.rows):
            for inside in self._inside(row).values():
                if len(inside) > 1:
                    whole.add((inside[0], inside[1]))
                else:
                    alone.add(inside[0])
        covered = {row for pair in whole for row in pair}
        return [*sorted(whole), *((row, None) for row in sorted(alone - covered))]

    def terms(self, row: int) -> list[Term]:
        """All that an output row of a band takes of a column."""
        terms = []
        for word, inside in self._inside(row).items():
            if len(inside) > 1:
                pair = self.pairs.index((inside[0], inside[1]))
                terms.append(Term(word=word, weights=pair, halves=None))
                continue
            (alone,) = inside
            pair = next(i for i, rows in enumerate(self.pairs) if alone in rows)
            first = row * self.conv.strides[0]
            halves = _half((first + alone) % 2), _half(self.pairs[pair].index(alone))
            terms.append(Term(word=word, weights=pair, halves=halves))
        return terms

    def packed_weights(self) -> NDArray[np.int8] | NDArray[np.int16]:
        """The weights in the order [channel][kw][pair][2]."""
        filters = self.conv.weight[:, 0].astype(np.int16)
        packed = np.zeros((len(filters), self.kw, len(self.pairs), 2), np.int16)
        for at, pair in enumerate(self.pairs):
            for half, row in enumerate(pair):
                if row is not None:
                    packed[:, :, at, half] = filters[:, row]
        return packed.reshape(-1)

    def _inside(self, row: int) -> dict[int, list[int]]:
        """Word of a column → the rows of the filter that an output row multiplies it by."""
        first = row * self.conv.strides[0]
        found: dict[int, list[int]] = {}
        for at in range(self.kh):
            found.setdefault((first + at) // 2, []).append(at)
        return found

    def _columns(self) -> int:
        every = self.conv.y.w
        if self.conv.tile:
            return min(self.conv.tile.pixels, every)

        def cost(size: int) -> float:
            results = size * self.rows * _RESULT_CYCLES
            columns = len(self.seen(size)) * self.height(self.rows) * _ROW_CYCLES
            return math.ceil(every / size) * (_TILE_CYCLES + results + columns)

        return min(range(1, min(every, _MOST_COLUMNS) + 1), key=cost)


def _half(number: int) -> Half:
    return "top" if number else "bottom"

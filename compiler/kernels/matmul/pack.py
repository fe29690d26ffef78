"""How the right operand of a product of activations is packed: as a convolution's weights are."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgekiln.compiler.kernels.channels import Block
from edgekiln.compiler.kernels.fold import signed
from edgekiln.compiler.kernels.matmul.plan import PackedPlan
from edgekiln.compiler.kernels.tir import let, register, repeat, store
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    cast,
    const,
    load,
    reinterpret,
    shuffle,
    splat,
)

# Rows and columns of what is transposed in registers.
_SQUARE = 4


@dataclass(frozen=True)
class Packer:
    """Packs the blocks of a plan."""

    plan: PackedPlan
    b: Buffer
    packed: Buffer
    zero: Buffer  # -z_a, one int32

    def emit(self, block: Block, to: Index, source: Index) -> None:
        """Pack one block: each vector's steps, then its -z_a·Σ b.

        Args:
            to: where its packed bytes begin.
            source: where in b its first column begins.
        """
        plan, width = self.plan, self.plan.mk.k_step
        lane = 0
        for vector in block.vectors:
            first = (vector.start - block.vectors[0].start) * plan.product.b.column
            column = _Column(self, block, let(to + lane * width), vector.lanes)
            column.emit(let(source + first))
            lane += vector.lanes


class _Column:
    """A vector of columns, which is packed to `to`, and their sums."""

    def __init__(self, packer: Packer, block: Block, to: Index, lanes: int) -> None:
        self.packer, self.plan, self.mk = packer, packer.plan, packer.plan.mk
        self.step_bytes = block.channels * self.mk.k_step
        self.to, self.lanes = to, lanes
        self.sums = register("int32", lanes)

    def emit(self, source: Index) -> None:
        """Pack all steps and add up the sums.

        Args:
            source: where in b the first of the columns begins.
        """
        mk, lanes = self.mk, self.lanes
        store(self.sums, 0, splat(const(0), lanes), lanes)
        # Columns that lie side by side in memory are transposed word by word.
        done = self._words(source) if self.plan.product.b.row == 1 else 0
        for step, depth in self._steps(done):
            self._rows(source, step, depth)
        # The matrix unit's last step may reach further than k.
        zeros = splat(cast(const(0), "int8"), lanes * mk.k_step)
        for step in range(math.ceil(self.plan.product.k / mk.k_step), self.plan.steps):
            self._store(step, zeros)  # k does not reach it
        # Behind the last step: -z_a·Σ b, as the bytes of int32.
        term = load(self.sums, 0, lanes) * splat(load(self.packer.zero, 0), lanes)
        self._store(self.plan.steps, reinterpret(term, "int8", lanes * mk.k_step))

    def _store(self, step: Index, codes: Expr) -> None:
        """Store what `dot` takes in a step."""
        count = self.lanes * self.mk.k_step
        store(self.packer.packed, self.to + step * self.step_bytes, codes, count)

    def _add(self, step: Index, codes: Expr) -> None:
        """Store the codes of a step, int8, and add them to the sums."""
        mk, lanes = self.mk, self.lanes
        codes = let(codes)
        self._store(step, codes)
        # A dot product with ones sums what has just been packed, in the same order.
        ones = splat(cast(const(1), mk.activation), lanes * mk.k_step)
        store(self.sums, 0, mk.dot(load(self.sums, 0, lanes), ones, codes, lanes), lanes)

    def _words(self, source: Index) -> int:
        """Pack the steps whose codes lie side by side in each column: whole words, as many as make
        squares to be transposed. Returns how many steps those are.
        """
        mk, lanes = self.mk, self.lanes
        square = min(_SQUARE, lanes)
        width = square * mk.k_step
        whole = self.plan.product.k // width
        if not whole:
            return 0
        # The bytes of a word, and the columns, in the orders of `interleave`.
        places = np.arange(lanes * mk.k_step, dtype=np.int16).reshape(1, lanes, mk.k_step)
        order: list[int] = mk.arrange(places).reshape(-1).tolist()
        columns = [min(c, self.plan.product.n - 1) for c in mk.interleaved(lanes) or range(lanes)]
        with repeat(whole) as i:
            # Each column gives a square's row of words.
            starts = (source + c * self.plan.product.b.column + i * width for c in columns)
            loaded = [
                reinterpret(load(self.packer.b, start, width), "int32", square) for start in starts
            ]
            rows = [let(shuffle(loaded[j::square], range(lanes))) for j in range(square)]
            for j, words in enumerate(_transposed(rows, lanes)):
                codes = reinterpret(words, mk.activation, lanes * mk.k_step)
                # Where `dot` wants the bytes of a word in another order.
                if order != sorted(order):
                    codes = shuffle([codes], order)
                self._add(i * square + j, signed(mk, codes, lanes * mk.k_step))
        return whole * square

    def _steps(self, first: int) -> Iterator[tuple[Index, int]]:
        """Yield each step from the first on, and how many k it has: the whole ones in a loop."""
        whole, rest = divmod(self.plan.product.k, self.mk.k_step)
        if whole > first:
            with repeat(whole - first) as i:
                yield first + i, self.mk.k_step
        if rest:
            yield whole, rest

    def _rows(self, source: Index, step: Index, depth: int) -> None:
        """Pack a step of up to four rows, each with its columns side by side."""
        mk, row = self.mk, self.plan.product.b.row
        at = let(source + step * (mk.k_step * row))
        rows = [signed(mk, self._codes(at + i * row), self.lanes) for i in range(depth)]
        rows = [reinterpret(codes, mk.activation, self.lanes) for codes in rows]
        # Interleaved as image rows are, then back to int8.
        count = self.lanes * mk.k_step
        self._add(step, reinterpret(mk.interleave(rows, self.lanes), "int8", count))

    def _codes(self, at: Index) -> Expr:
        """One code of each of the columns from `at` on."""
        column, lanes = self.plan.product.b.column, self.lanes
        # A row of b is dense.
        if column == 1:
            return load(self.packer.b, at, lanes)
        gathered = register(self.mk.activation, lanes)
        for lane in range(lanes):
            # Lanes without a column repeat the last one; their sums are never stored.
            place = at + min(lane, self.plan.product.n - 1) * column
            store(gathered, lane, load(self.packer.b, place))
        return load(gathered, 0, lanes)


def _transposed(rows: list[Expr], lanes: int) -> list[Expr]:
    """Transpose squares that lie side by side in the lanes of as many vectors as they have rows.

    Two rounds of unpacking: of single lanes from neighbouring rows, then of pairs of lanes.
    """
    if len(rows) == 1:
        return rows

    def unpacked(a: Expr, b: Expr, half: int, size: int) -> Expr:
        """The elements, of `size` lanes, of one half of each square's row, from a and b in turn."""
        places = [
            vector * lanes + start + half * _SQUARE // 2 + element * size + i
            for start in range(0, lanes, _SQUARE)
            for element in range(_SQUARE // 2 // size)
            for vector in (0, 1)
            for i in range(size)
        ]
        return let(shuffle([a, b], places))

    a, b, c, d = rows
    return [
        unpacked(unpacked(a, b, half, 1), unpacked(c, d, half, 1), other, 2)
        for half in (0, 1)
        for other in (0, 1)
    ]

"""A product of activations on vectors: one register tile of rows × vectors of columns."""

import math
import operator
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from edgekiln.compiler.kernels.channels import Block
from edgekiln.compiler.kernels.epilogue.base import Epilogue
from edgekiln.compiler.kernels.fold import fold_dots, fold_lanes, lane, ones
from edgekiln.compiler.kernels.matmul.plan import MatMulOperands, PackedPlan, PlacedBlock
from edgekiln.compiler.kernels.tir import let, register, repeat, store
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, const, load, reinterpret, splat

# Rows whose codes are summed at once: their lanes are folded together.
_TOGETHER = 4


@dataclass(frozen=True)
class MatMulTileEmitter:
    """Emits the code of a register tile."""

    plan: PackedPlan
    operands: MatMulOperands
    epilogue: Epilogue

    def ready(self) -> AbstractContextManager[None]:
        """What surrounds all tiles: vectors need no preparation."""
        return nullcontext()

    def emit(self, places: Iterator[PlacedBlock], source: Index, to: Index) -> None:
        """Emit a tile of rows in every block of columns.

        Args:
            source: where in a its first row is.
            to: where in y the result of its first row and of column 0 goes.
        """
        corrections = self._corrections(source)
        for block, weights, column in places:
            self._emit(block, source, weights, to + column, corrections)

    def _corrections(self, source: Index) -> list[Expr]:
        """Return z_b·Σ a of each row."""
        plan, mk = self.plan, self.plan.mk
        together = min(_TOGETHER, mk.lanes[-1])
        zero = splat(load(self.operands.zero, 0), together)
        found: list[Expr] = []
        for first in range(0, plan.rows, together):
            # Where rows are missing the last one is summed again.
            rows = (min(first + i, plan.rows - 1) for i in range(together))
            starts = [let(source + row * plan.product.a.row) for row in rows]
            sums = [fold_dots(mk, self.operands.a, at, plan.product.k, [ones]) for at in starts]
            vectors, lanes = [vector for (vector,), _ in sums], sums[0][1]
            totals = let(fold_lanes(vectors, lanes, operator.add) * zero)
            found += [lane(totals, row, together) for row in range(together)]
        return found[: plan.rows]

    def _emit(
        self, block: Block, source: Index, weights: Index, to: Index, corrections: list[Expr]
    ) -> None:
        """Emit one register tile: sums, corrections, then the epilogue of each vector."""
        a, packed = self.operands.a, self.operands.packed
        plan, product, mk = self.plan, self.plan.product, self.plan.mk
        # Only one of the partial sums may start from the correction.
        splits = [_Sums(plan, block, self._start(block, weights))]
        zeros = [splat(const(0), vector.lanes) for vector in block.vectors]
        splits += [_Sums(plan, block, zeros) for _ in range(1, plan.splits)]
        # Steps that one load of a row brings.
        per_load = mk.x_bytes // mk.k_step
        unrolled = per_load * math.ceil(plan.splits / per_load)
        whole = product.k // mk.k_step // unrolled

        def add(first: Index, count: int) -> None:
            """Add steps of k, in turn to the splits. Behind k the packed codes are 0."""
            for at in range(0, count, per_load):
                # Every row of the tile lies `row` elements behind the one before.
                base = let(source + (first + at) * mk.k_step)
                rows = [load(a, base + row * product.a.row, mk.x_bytes) for row in range(plan.rows)]
                for i in range(min(per_load, count - at)):
                    split = splits[(at + i) % plan.splits]
                    split.add(rows, i, packed, weights, first + at + i)

        if whole:
            with repeat(whole) as i:
                add(i * unrolled, unrolled)
        add(whole * unrolled, math.ceil(product.k / mk.k_step) - whole * unrolled)
        self._finish(splits, block, to, corrections)

    def _start(self, block: Block, weights: Index) -> list[Expr]:
        """What the sums of each vector start from: K·z_a·z_b - z_a·Σ b."""
        width = self.plan.mk.k_step
        # Behind the last step: one int32 a lane.
        at = let(weights + self.plan.steps * block.channels * width)
        values, lane = [], 0
        for vector in block.vectors:
            n = vector.lanes
            packed = load(self.operands.packed, at + lane * width, n * width)
            values.append(let(reinterpret(packed, "int32", n) + self.epilogue.bias(0, n)))
            lane += n
        return values

    def _finish(
        self, splits: list["_Sums"], block: Block, to: Index, corrections: list[Expr]
    ) -> None:
        for row in range(self.plan.rows):
            for v, vector in enumerate(block.vectors):
                n = vector.lanes
                # Partial sums of k become one.
                value = _total([split.products[row][v] for split in splits], n)
                y = to + row * self.plan.product.y.row + vector.start - block.vectors[0].start
                self.epilogue.emit(
                    value - splat(corrections[row], n), 0, y, None, n, vector.valid,
                    self.plan.mk.interleaved(n),
                )  # fmt: skip


def _total(parts: list[Buffer], lanes: int = 1) -> Expr:
    """The sum of accumulators."""
    values = [load(part, 0, lanes) for part in parts]
    return sum(values[1:], values[0])


class _Sums:
    """The accumulators of some rows × the vectors of a block, which start as `values` in every
    row.
    """

    def __init__(self, plan: PackedPlan, block: Block, values: list[Expr]) -> None:
        self.mk, self.block = plan.mk, block
        self.products = [
            [register("int32", v.lanes) for v in block.vectors] for _ in range(plan.rows)
        ]
        for row in self.products:
            for acc, vector, value in zip(row, block.vectors, values, strict=True):
                store(acc, 0, value, vector.lanes)

    def add(
        self, rows: list[Expr], step: int, packed: Buffer, weights: Index, index: Index
    ) -> None:
        """Four more k of every accumulator."""
        mk = self.mk
        at = let(weights + index * (self.block.channels * mk.k_step))
        for row, accumulators in zip(rows, self.products, strict=True):
            lane = 0
            for vector, acc in zip(self.block.vectors, accumulators, strict=True):
                n = vector.lanes
                # LLVM loads it once for all rows.
                codes = load(packed, at + lane * mk.k_step, n * mk.k_step)
                a = mk.operand([row], step, n)
                store(acc, 0, mk.dot(load(acc, 0, n), a, codes, n), n)
                lane += n

"""A product of activations on vectors: one register tile of rows × vectors of columns."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from edgekiln.compiler.kernels.channels import Block
from edgekiln.compiler.kernels.epilogue import Epilogue
from edgekiln.compiler.kernels.matmul_plan import Operands, Plan
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
from edgekiln.targets.isa.base import Expr, splat


@dataclass(frozen=True)
class TileEmitter:
    """Emits the code of a register tile."""

    plan: Plan
    operands: Operands
    epilogue: Epilogue

    def ready(self) -> AbstractContextManager[None]:
        """Around all tiles: vectors need no preparation."""
        return nullcontext()

    def emit(self, block: Block, source: Index, weights: Index, to: Index) -> None:
        """One register tile: sums, corrections, then the epilogue of each vector.

        Args:
            source: of its first row in a.
            weights: of the block's packed codes.
            to: of its first result.
        """
        a, packed = self.operands.a, self.operands.packed
        plan, product, mk = self.plan, self.plan.product, self.plan.mk
        splits = [_Sums(plan, block, self._start(block, weights))]
        zeros = [splat(const(0), vector.lanes) for vector in block.vectors]
        splits += [_Sums(plan, block, zeros) for _ in range(1, plan.splits)]
        per_load = mk.x_bytes // mk.k_step
        turn = per_load * math.ceil(plan.splits / per_load)
        whole, rest = divmod(product.k // mk.k_step, turn)

        def add(first: Index, depths: list[int]) -> None:
            """Steps of k, in turn to the splits."""
            for at in range(0, len(depths), per_load):
                base = bind(source + (first + at) * mk.k_step)
                rows = [load(a, base + row * product.a.row, mk.x_bytes) for row in range(plan.rows)]
                for i, depth in enumerate(depths[at : at + per_load]):
                    split = splits[(at + i) % plan.splits]
                    split.add(rows, i, packed, weights, first + at + i, depth)

        if whole:
            with turns(whole) as i:
                add(i * turn, [mk.k_step] * turn)
        tail = product.k % mk.k_step
        add(whole * turn, [mk.k_step] * rest + [tail] * (tail > 0))
        self._finish(splits, block, to)

    def _start(self, block: Block, weights: Index) -> list[Expr]:
        """K·z_a·z_b - z_a·Σ b of each vector."""
        width = self.plan.mk.k_step
        at = bind(weights + self.plan.steps * block.channels * width)
        values, lane = [], 0
        for vector in block.vectors:
            n = vector.lanes
            packed = load(self.operands.packed, at + lane * width, n * width)
            values.append(bind(reinterpret(packed, "int32", n) + self.epilogue.bias(0, n)))
            lane += n
        return values

    def _finish(self, splits: list["_Sums"], block: Block, to: Index) -> None:
        for row in range(self.plan.rows):
            of_row = _total([split.of_rows[row] for split in splits])
            correction = bind(of_row * load(self.operands.zero, 0))
            for v, vector in enumerate(block.vectors):
                n = vector.lanes
                value = _total([split.products[row][v] for split in splits], n)
                y = to + row * self.plan.product.y.row + vector.start - block.vectors[0].start
                self.epilogue.emit(
                    value - splat(correction, n), 0, y, None, n, vector.valid,
                    self.plan.mk.interleaved(n),
                )  # fmt: skip


def _total(parts: list[Buffer], lanes: int = 1) -> Expr:
    """The sum of accumulators."""
    values = [load(part, 0, lanes) for part in parts]
    return sum(values[1:], values[0])


class _Sums:
    """The accumulators of some rows × the vectors of a block, which start as `values` in every row;
    and of each row's own sum.
    """

    def __init__(self, plan: Plan, block: Block, values: list[Expr]) -> None:
        self.mk, self.block = plan.mk, block
        rows, few = range(plan.rows), self.mk.lanes[-1]
        self.products = [[register("int32", v.lanes) for v in block.vectors] for _ in rows]
        self.of_rows = [register("int32", few) for _ in rows]
        for row, total in zip(self.products, self.of_rows, strict=True):
            for acc, vector, value in zip(row, block.vectors, values, strict=True):
                store(acc, 0, value, vector.lanes)
            store(total, 0, splat(const(0), few), few)

    def add(
        self, rows: list[Expr], step: int, packed: Buffer, weights: Index, index: Index, depth: int
    ) -> None:
        """Four more k of every accumulator; behind `depth` the packed codes are 0."""
        mk = self.mk
        at = bind(weights + index * (self.block.channels * mk.k_step))
        few = mk.lanes[-1]
        one = splat(cast(const(1), mk.activation), few)
        ones = reinterpret(mk.interleave([one] * depth, few), "int8", few * mk.k_step)
        for row, accumulators, total in zip(rows, self.products, self.of_rows, strict=True):
            lane = 0
            for vector, acc in zip(self.block.vectors, accumulators, strict=True):
                n = vector.lanes
                codes = load(packed, at + lane * mk.k_step, n * mk.k_step)
                a = mk.operand([row], step, n)
                store(acc, 0, mk.dot(load(acc, 0, n), a, codes, n), n)
                lane += n
            a = mk.operand([row], step, few)
            store(total, 0, mk.dot(load(total, 0, few), a, ones, few), few)

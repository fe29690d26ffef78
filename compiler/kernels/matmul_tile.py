"""A product of activations on vectors: one register tile of rows × vectors of columns."""

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
        tile = _Tile.start(plan, packed, self.epilogue, weights, block)
        per_load = mk.x_bytes // mk.k_step
        whole, rest = divmod(product.k // mk.k_step, per_load)

        def load_and_add(first: Index, depths: list[int]) -> None:
            base = bind(source + first * mk.k_step)
            rows = [load(a, base + row * product.a.row, mk.x_bytes) for row in range(plan.rows)]
            for i, depth in enumerate(depths):
                tile.add(rows, i, packed, weights, first + i, depth)

        if whole:
            with turns(whole) as i:
                load_and_add(i * per_load, [mk.k_step] * per_load)
        tail = product.k % mk.k_step
        if rest or tail:
            load_and_add(whole * per_load, [mk.k_step] * rest + [tail] * (tail > 0))
        tile.finish(self.epilogue, self.operands.zero, to)


@dataclass(frozen=True)
class _Tile:
    """The accumulators of some rows × the vectors of a block, and of each row's own sum."""

    plan: Plan
    block: Block
    sums: list[list[Buffer]]
    row_sums: list[Buffer]

    @classmethod
    def start(
        cls, plan: Plan, packed: Buffer, epilogue: Epilogue, weights: Index, block: Block
    ) -> "_Tile":
        """K·z_a·z_b - z_a·Σ b in every row, zero in their own sums."""
        mk, rows = plan.mk, range(plan.rows)
        sums = [[register("int32", v.lanes) for v in block.vectors] for _ in rows]
        at = bind(weights + plan.steps * block.channels * mk.k_step)
        lane = 0
        for v, vector in enumerate(block.vectors):
            n, count = vector.lanes, vector.lanes * mk.k_step
            term = reinterpret(load(packed, at + lane * mk.k_step, count), "int32", n)
            first = bind(term + epilogue.bias(0, n))
            for row in rows:
                store(sums[row][v], 0, first, n)
            lane += n
        row_sums = [register("int32", mk.lanes[-1]) for _ in rows]
        for total in row_sums:
            store(total, 0, splat(const(0), mk.lanes[-1]), mk.lanes[-1])
        return cls(plan, block, sums, row_sums)

    def add(
        self, rows: list[Expr], step: int, packed: Buffer, weights: Index, index: Index, depth: int
    ) -> None:
        """Four more k of every accumulator; behind `depth` the packed codes are 0."""
        mk = self.plan.mk
        at = bind(weights + index * (self.block.channels * mk.k_step))
        few = mk.lanes[-1]
        one = splat(cast(const(1), mk.activation), few)
        ones = reinterpret(mk.interleave([one] * depth, few), "int8", few * mk.k_step)
        for row, accumulators, total in zip(rows, self.sums, self.row_sums, strict=True):
            lane = 0
            for vector, acc in zip(self.block.vectors, accumulators, strict=True):
                n = vector.lanes
                codes = load(packed, at + lane * mk.k_step, n * mk.k_step)
                a = mk.operand([row], step, n)
                store(acc, 0, mk.dot(load(acc, 0, n), a, codes, n), n)
                lane += n
            a = mk.operand([row], step, few)
            store(total, 0, mk.dot(load(total, 0, few), a, ones, few), few)

    def finish(self, epilogue: Epilogue, zero: Buffer, to: Index) -> None:
        chosen = self.block.vectors
        for row, accumulators in enumerate(self.sums):
            correction = bind(load(self.row_sums[row], 0) * load(zero, 0))
            for vector, acc in zip(chosen, accumulators, strict=True):
                value = load(acc, 0, vector.lanes) - splat(correction, vector.lanes)
                y = to + row * self.plan.product.y.row + vector.start - chosen[0].start
                order = self.plan.mk.interleaved(vector.lanes)
                epilogue.emit(value, 0, y, None, vector.lanes, vector.valid, order)

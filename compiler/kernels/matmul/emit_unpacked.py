"""A product of float activations: one register tile of rows × vectors of columns."""

import math
from itertools import chain

from edgekiln.compiler.kernels.channels import Block
from edgekiln.compiler.kernels.epilogue.base import Epilogue
from edgekiln.compiler.kernels.matmul.plan import UnpackedPlan
from edgekiln.compiler.kernels.tir import let, register, repeat, store
from edgekiln.targets.isa.expressions import Buffer, Index, float_const, load, splat


class UnpackedTile:
    """The sums of some rows × the vectors of a block: one for each split, row and vector."""

    def __init__(self, plan: UnpackedPlan, block: Block) -> None:
        self.product, self.mk, self.vectors = plan.product, plan.mk, block.vectors
        tile = plan.tile
        self.sums = [
            [[register("float32", v.lanes) for v in self.vectors] for _ in range(tile.pixels)]
            for _ in range(tile.splits)
        ]
        for row in chain.from_iterable(self.sums):
            for vector, acc in zip(self.vectors, row, strict=True):
                store(acc, 0, splat(float_const(0.0), vector.lanes), vector.lanes)

    def multiply(self, a: Buffer, b: Buffer, at: tuple[Index, Index]) -> None:
        """Add all k products, in turn to the splits.

        Args:
            at: where the first row in a, and the first column in b, begin.
        """
        left, right = at
        # Products after which both the splits and the loads of rows begin anew.
        depth = self.mk.x_bytes * math.ceil(len(self.sums) / self.mk.x_bytes)
        whole, rest = divmod(self.product.k, depth)
        if whole:
            with repeat(whole) as i:
                self._add(a, b, let(left + i * depth), let(right + i * depth * self._row), depth)
        if rest:
            self._add(a, b, left + whole * depth, right + whole * depth * self._row, rest)

    @property
    def _row(self) -> int:
        """How many elements lie from one row of b to the next."""
        return self.product.b.row

    def _add(self, a: Buffer, b: Buffer, left: Index, right: Index, depth: int) -> None:
        """Add `depth` products, as many at a time as one load brings of a row of a."""
        per_load = self.mk.x_bytes
        first = self.vectors[0].start
        for step in range(depth):
            # One load brings several elements of each row of a.
            if step % per_load == 0:
                at = left + step
                rows = [
                    load(a, at + i * self.product.a.row, per_load) for i in range(len(self.sums[0]))
                ]
            columns = [
                let(load(b, right + step * self._row + v.start - first, v.lanes))
                for v in self.vectors
            ]
            for row, accumulators in zip(rows, self.sums[step % len(self.sums)], strict=True):
                for vector, acc, column in zip(self.vectors, accumulators, columns, strict=True):
                    n = vector.lanes
                    # One of these elements, in every lane.
                    factor = self.mk.operand([row], step % per_load, n)
                    store(acc, 0, self.mk.dot(load(acc, 0, n), factor, column, n), n)

    def finish(self, epilogue: Epilogue, to: Index) -> None:
        """Store the results, the first one at `to`."""
        first = self.vectors[0].start
        for i, splits in enumerate(zip(*self.sums, strict=True)):
            for vector, *parts in zip(self.vectors, *splits, strict=True):
                n = vector.lanes
                values = [load(part, 0, n) for part in parts]
                total = sum(values[1:], values[0])
                at = to + i * self.product.y.row + vector.start - first
                epilogue.emit(total, 0, at, None, n, vector.valid)

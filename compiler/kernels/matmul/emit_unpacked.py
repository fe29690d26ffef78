"""Products of two float activations, batched: a register tile of rows × vectors of columns."""

import math
from dataclasses import dataclass, replace
from itertools import chain

from edgekiln.compiler.kernels import label
from edgekiln.compiler.kernels.channels import Block, blocks, vectors
from edgekiln.compiler.kernels.epilogue.floats import NO_CLIP, Bounds, erased
from edgekiln.compiler.kernels.epilogue.requantize import store_lanes
from edgekiln.compiler.kernels.function import Function, apply
from edgekiln.compiler.kernels.matmul.kernel import Matrices
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tile import Tile, ranked
from edgekiln.compiler.kernels.tir import (
    Buffer,
    Index,
    KernelBuilder,
    bind,
    const,
    divmod_,
    float_const,
    load,
    loop,
    minimum,
    register,
    store,
    turns,
    unravel,
)  # fmt: skip
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel, splat


def _erased(product: "FloatMatMul") -> "FloatMatMul":
    return replace(product, clip=erased(product.clip))


@dataclass(frozen=True, kw_only=True)
class FloatMatMul:
    """y = function(clip(a · b)): (m, k) by (k, n) for each index of `batch`.

    Args:
        a, b, y: with column stride 1.
        clip: lowest and highest value before `function`.
        tile: rows and vectors of columns in a register tile; chosen when None.
    """

    batch: tuple[int, ...]
    m: int
    k: int
    n: int
    a: Matrices
    b: Matrices
    y: Matrices
    clip: tuple[float, float] = NO_CLIP
    function: Function = ()
    tile: Tile | None = None

    @property
    def label(self) -> str:
        return label.of_product("float product", self) + label.of_function(self.function)

    @property
    def shape(self) -> "FloatMatMul":
        """It without its numbers and its tile."""
        return replace(_erased(self), tile=None)

    def tiles(self, mk: MicroKernel) -> list[Tile]:
        """What `tile` may be, the default first, then what looks best."""
        found = ranked(mk, pixels=self.m, channels=self.n, k_steps=self.k)
        return [tile for _, tile in found]

    @shared(_erased)
    def build(self, mk: MicroKernel) -> Kernel:
        tile = self.tile or self.tiles(mk)[0]
        columns = vectors(self.n, mk, tile.lanes)
        rows, tiles = tile.pixels, math.ceil(self.m / tile.pixels)
        with KernelBuilder() as k:
            a, b = (k.tensor(side.elements, "float32") for side in (self.a, self.b))
            bounds = Bounds(k, self.clip)
            y = k.tensor(self.y.elements, "float32")
            begin, end = k.items(math.prod(self.batch) * tiles)
            with loop(begin, end) as item:
                matrix, part = divmod_(item, tiles)
                first = bind(minimum(part * rows, const(self.m - rows)))
                indices = unravel(self.batch, bind(matrix))
                left = bind(self.a.at(indices) + first * self.a.row)
                right = bind(self.b.at(indices))
                to = bind(self.y.at(indices) + first * self.y.row)
                for block in blocks(columns, tile.vectors):
                    with turns(block.count) as i:
                        column = bind(block.vectors[0].start + i * block.channels)
                        emit = _Tile(self, mk, tile, block)
                        emit.multiply(a, b, (left, right + column))
                        emit.finish(y, bounds, to + column)
        return k.finish()


class _Tile:
    """The sums of some rows × the vectors of a block, of each split."""

    def __init__(self, product: FloatMatMul, mk: MicroKernel, tile: Tile, block: Block) -> None:
        self.product, self.mk, self.vectors = product, mk, block.vectors
        self.sums = [
            [[register("float32", v.lanes) for v in self.vectors] for _ in range(tile.pixels)]
            for _ in range(tile.splits)
        ]
        for row in chain.from_iterable(self.sums):
            for vector, acc in zip(self.vectors, row, strict=True):
                store(acc, 0, splat(float_const(0.0), vector.lanes), vector.lanes)

    def multiply(self, a: Buffer, b: Buffer, at: tuple[Index, Index]) -> None:
        """Add all k products, in turn to the splits."""
        left, right = at
        depth = self.mk.x_bytes * math.ceil(len(self.sums) / self.mk.x_bytes)
        whole, rest = divmod(self.product.k, depth)
        if whole:
            with turns(whole) as i:
                self._add(a, b, bind(left + i * depth), bind(right + i * depth * self._row), depth)
        if rest:
            self._add(a, b, left + whole * depth, right + whole * depth * self._row, rest)

    @property
    def _row(self) -> int:
        return self.product.b.row

    def _add(self, a: Buffer, b: Buffer, left: Index, right: Index, depth: int) -> None:
        """`depth` products, as many at a time as one load brings of a row of a."""
        per_load = self.mk.x_bytes
        first = self.vectors[0].start
        for step in range(depth):
            if step % per_load == 0:
                at = left + step
                rows = [
                    load(a, at + i * self.product.a.row, per_load) for i in range(len(self.sums[0]))
                ]
            columns = [
                bind(load(b, right + step * self._row + v.start - first, v.lanes))
                for v in self.vectors
            ]
            for row, accumulators in zip(rows, self.sums[step % len(self.sums)], strict=True):
                for vector, acc, column in zip(self.vectors, accumulators, columns, strict=True):
                    n = vector.lanes
                    factor = self.mk.operand([row], step % per_load, n)
                    store(acc, 0, self.mk.dot(load(acc, 0, n), factor, column, n), n)

    def finish(self, y: Buffer, bounds: Bounds, to: Index) -> None:
        first = self.vectors[0].start
        for i, splits in enumerate(zip(*self.sums, strict=True)):
            for vector, *parts in zip(self.vectors, *splits, strict=True):
                n = vector.lanes
                values = [load(part, 0, n) for part in parts]
                value = bounds.clamp(sum(values[1:], values[0]), n)
                value = apply(self.mk, self.product.function, value, n)
                at = to + i * self.product.y.row + vector.start - first
                store_lanes(y, at, value, "float32", n, vector.valid)

"""Products of two activations, batched: neither operand is known before the program runs.

The right operand is first packed like a convolution's weights, then the same register tile of rows
× vectors accumulates. With zero points z and codes a, b (b shifted to int8, and z_b with it):

    Σ (a - z_a)(b - z_b) = Σ a·b - z_a·Σ b - z_b·Σ a + K·z_a·z_b        (sums over k, exact)

Σ b is taken while packing and lies behind the packed bytes, one int32 a lane, as one step more; Σ a
is one more accumulator a row, a product with ones.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from edgekiln.compiler.kernels.channels import Block, blocks, vectors
from edgekiln.compiler.kernels.epilogue import Epilogue, erased
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.spec import F32, Kernel, Nhwc
from edgekiln.compiler.kernels.tile import default_tile
from edgekiln.compiler.kernels.tir import (
    Buffer,
    Index,
    KernelBuilder,
    bind,
    cast,
    const,
    divmod_,
    load,
    loop,
    minimum,
    register,
    reinterpret,
    store,
    turns,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, MicroKernel, splat

_TOP_BIT = 0x80  # of a byte: flipping it turns unsigned codes into signed ones


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """A stack of matrices in memory: element (…, i, j) at Σ batch[k]·i_k + row·i + column·j.

    Args:
        elements: of the memory they lie in, for its declaration.
        batch: one stride an axis of `MatMul.batch`; 0 where all share one matrix.
    """

    elements: int
    batch: tuple[int, ...]
    row: int
    column: int

    def at(self, indices: tuple[Index, ...]) -> Index:
        return sum((i * step for i, step in zip(indices, self.batch, strict=True)), 0)


def _erased(product: "MatMul") -> "MatMul":
    numbers = erased(product.result, np.atleast_1d(product.mult))
    return replace(
        product,
        result=numbers["y"],
        mult=numbers["mult"][0],
        clip=numbers["clip"],
        zero_points=(0, 0),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class MatMul:
    """y = epilogue(Σ (a - z_a)(b - z_b)): (m, k) by (k, n) for each index of `batch`.

    `pack` makes the kernel that packs b, of `packed_bytes` bytes; `build` the one that multiplies.

    Args:
        a: with column stride 1.
        b: any strides, so a transposed operand costs nothing.
        y: with column stride 1; `result` is its quantization, or float32.
        zero_points: of a and of b, as codes of the micro-kernel's activation type.
        mult: see `epilogue.multiplier`.
        clip: lowest and highest code of y.
    """

    batch: tuple[int, ...]
    m: int
    k: int
    n: int
    a: Matrices
    b: Matrices
    y: Matrices
    result: Nhwc | F32
    zero_points: tuple[int, int]
    mult: np.float32
    clip: tuple[int, int] = (0, 255)

    def packed_bytes(self, mk: MicroKernel) -> int:
        return math.prod(self.batch) * _Plan(self, mk).matrix_bytes

    @shared(_erased)
    def pack(self, mk: MicroKernel) -> Kernel:
        plan = _Plan(self, mk)
        with KernelBuilder() as k:
            b = k.tensor(self.b.elements, mk.activation)
            zero = k.constant(np.array([-self.zero_points[0]], np.int32))
            packed = k.tensor(self.packed_bytes(mk), "int8")
            begin, end = k.items(math.prod(self.batch))
            with loop(begin, end) as item:
                source = bind(self.b.at(self._indices(item)))
                for block, at, column in plan.blocks(item):
                    plan.pack(b, packed, zero, block, at, source + column * self.b.column)
        return k.finish()

    @shared(_erased)
    def build(self, mk: MicroKernel) -> Kernel:
        plan = _Plan(self, mk)
        of_a, of_b = self.zero_points[0], plan.shifted_zero_point
        lanes = max(v.lanes for block in plan.layout for v in block.vectors)
        bias = np.full(lanes, self.k * of_a * of_b, np.int64).astype(np.int32)  # modulo 2³²
        with KernelBuilder() as k:
            a = k.tensor(self.a.elements, mk.activation)
            packed = k.tensor(self.packed_bytes(mk), "int8")
            zero = k.constant(np.array([of_b], np.int32))
            epilogue = Epilogue(mk, self.result, self.clip, None)
            epilogue.declare_constants(k, bias, np.full(lanes, self.mult, np.float32))
            epilogue.declare_output(k)
            rows = plan.rows
            tiles = math.ceil(self.m / rows)
            begin, end = k.items(math.prod(self.batch) * tiles)
            with loop(begin, end) as item:
                matrix, tile = divmod_(item, tiles)
                matrix, first = bind(matrix), bind(minimum(tile * rows, const(self.m - rows)))
                indices = self._indices(matrix)
                source = bind(self.a.at(indices) + first * self.a.row)
                to = bind(self.y.at(indices) + first * self.y.row)
                for block, at, column in plan.blocks(matrix):
                    plan.multiply((a, packed, zero), epilogue, block, (source, at, to + column))
        return k.finish()

    def _indices(self, matrix: Index) -> tuple[Index, ...]:
        """The batch axes of the `matrix`th product."""
        indices: list[Index] = []
        for extent in reversed(self.batch):
            matrix, index = divmod_(matrix, extent)
            indices.insert(0, bind(index))
        return tuple(indices)


class _Plan:
    """The numbers of one product on one instruction set."""

    def __init__(self, product: MatMul, mk: MicroKernel) -> None:
        self.product, self.mk = product, mk.single
        mk = self.mk
        self.steps = math.ceil(product.k / mk.k_step)
        columns = vectors(product.n, mk)
        # A row's sum of codes takes a register, like what the row itself does.
        with_sums = replace(mk, pixel_registers=mk.pixel_registers + 1)
        tile = default_tile(with_sums, pixels=product.m, columns=columns, k_steps=self.steps)
        self.rows = tile.pixels
        self.layout = blocks(columns, tile.vectors)

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

    def multiply(
        self, buffers: tuple[Buffer, Buffer, Buffer], epilogue: Epilogue, block: Block,
        at: tuple[Index, Index, Index],
    ) -> None:  # fmt: skip
        """One register tile: sums, corrections, then the epilogue of each vector."""
        a, packed, zero = buffers
        source, weights, to = at
        tile = _Tile.start(self, packed, epilogue, weights, block)
        per_load = self.mk.x_bytes // self.mk.k_step
        whole, rest = divmod(self.product.k // self.mk.k_step, per_load)

        def load_and_add(first: Index, depths: list[int]) -> None:
            base = bind(source + first * self.mk.k_step)
            rows = [
                load(a, base + row * self.product.a.row, self.mk.x_bytes)
                for row in range(self.rows)
            ]
            for i, depth in enumerate(depths):
                tile.add(rows, i, packed, weights, first + i, depth)

        if whole:
            with turns(whole) as i:
                load_and_add(i * per_load, [self.mk.k_step] * per_load)
        tail = self.product.k % self.mk.k_step
        if rest or tail:
            load_and_add(whole * per_load, [self.mk.k_step] * rest + [tail] * (tail > 0))
        tile.finish(epilogue, zero, to)


@dataclass(frozen=True)
class _Tile:
    """The accumulators of some rows × the vectors of a block, and of each row's own sum."""

    plan: _Plan
    block: Block
    sums: list[list[Buffer]]
    row_sums: list[Buffer]

    @classmethod
    def start(
        cls, plan: _Plan, packed: Buffer, epilogue: Epilogue, weights: Index, block: Block
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

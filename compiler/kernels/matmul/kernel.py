"""Products of two activations, batched: neither operand is known before the program runs.

The right operand is first packed like a convolution's weights, then the same register tile of rows
× vectors accumulates. With zero points z and codes a, b (b shifted to int8, and z_b with it):

    Σ (a - z_a)(b - z_b) = Σ a·b - z_a·Σ b - z_b·Σ a + K·z_a·z_b        (sums over k, exact)

Σ b is taken while packing and lies behind the packed bytes, one int32 a lane, as one step more; Σ a
before the products of its row, by dot products with ones.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels import label
from edgekiln.compiler.kernels.epilogue.requantize import Epilogue, erased
from edgekiln.compiler.kernels.matmul.emit_matrix import MatrixEmitter
from edgekiln.compiler.kernels.matmul.emit_tile import TileEmitter
from edgekiln.compiler.kernels.matmul.pack import Packer
from edgekiln.compiler.kernels.matmul.plan import Operands, Plan
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tile import Tile
from edgekiln.compiler.kernels.tir import (
    Index,
    KernelBuilder,
    bind,
    const,
    divmod_,
    loop,
    minimum,
    unravel,
)  # fmt: skip
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel


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
    numbers = erased(product.result, np.atleast_1d(product.mult), product.clip)
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
        tile: rows and vectors of columns in a register tile; chosen when None.
    """

    batch: tuple[int, ...]
    m: int
    k: int
    n: int
    a: Matrices
    b: Matrices
    y: Matrices
    result: Nhwc
    zero_points: tuple[int, int]
    mult: np.float32
    clip: tuple[int, int] = (0, 255)
    tile: Tile | None = None

    @property
    def label(self) -> str:
        return label.of_product("product", self)

    @property
    def shape(self) -> "MatMul":
        """It without its numbers and its tile."""
        return replace(_erased(self), tile=None)

    def tiles(self, mk: MicroKernel) -> list[Tile]:
        """What `tile` may be, the default first, then what looks best."""
        return Plan(replace(self, tile=None), mk).tiles

    def packed_bytes(self, mk: MicroKernel) -> int:
        return math.prod(self.batch) * Plan(self, mk).matrix_bytes

    @shared(_erased)
    def pack(self, mk: MicroKernel) -> Kernel:
        plan = Plan(self, mk)
        with KernelBuilder() as k:
            b = k.tensor(self.b.elements, mk.activation)
            zero = k.constant(np.array([-self.zero_points[0]], np.int32))
            packed = k.tensor(self.packed_bytes(mk), "int8")
            packer = Packer(plan, b, packed, zero)
            begin, end = k.items(math.prod(self.batch))
            with loop(begin, end) as item:
                source = bind(self.b.at(unravel(self.batch, item)))
                for block, at, column in plan.blocks(item):
                    packer.emit(block, at, source + column * self.b.column)
        return k.finish()

    @shared(_erased)
    def build(self, mk: MicroKernel) -> Kernel:
        plan = Plan(self, mk)
        of_a, of_b = self.zero_points[0], plan.shifted_zero_point
        lanes = max(v.lanes for block in plan.layout for v in block.vectors)
        bias = np.full(lanes, self.k * of_a * of_b, np.int64)
        with KernelBuilder() as k:
            a = k.tensor(self.a.elements, mk.activation)
            packed = k.tensor(self.packed_bytes(mk), "int8")
            zero = k.constant(np.array([of_b], np.int32))
            epilogue = Epilogue(mk, self.result, self.clip, None)
            epilogue.declare_constants(k, bias, np.full(lanes, self.mult, np.float32))
            operands = Operands(a, packed, zero)
            if plan.tile is None:
                emitter: TileEmitter | MatrixEmitter = TileEmitter(plan, operands, epilogue)
            else:
                configuration = k.constant(plan.tile.configuration())
                ones = k.constant(plan.tile_ones())
                emitter = MatrixEmitter(plan, operands, epilogue, configuration, ones)
            epilogue.declare_output(k)
            tiles = math.ceil(self.m / plan.rows)
            begin, end = k.items(math.prod(self.batch) * tiles)
            with emitter.ready(), loop(begin, end) as item:
                matrix, tile = divmod_(item, tiles)
                matrix, first = (
                    bind(matrix),
                    bind(minimum(tile * plan.rows, const(self.m - plan.rows))),
                )
                indices = unravel(self.batch, matrix)
                source = bind(self.a.at(indices) + first * self.a.row)
                to = bind(self.y.at(indices) + first * self.y.row)
                emitter.emit(plan.blocks(matrix), source, to)
        return k.finish()

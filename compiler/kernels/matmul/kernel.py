"""Products of two activations, batched: neither operand is known before the program runs.

The right operand of codes is first packed like a convolution's weights, then the same register tile
of rows × vectors accumulates. With zero points z and codes a, b (b shifted to int8, and z_b with
it):

    Σ (a - z_a)(b - z_b) = Σ a·b - z_a·Σ b - z_b·Σ a + K·z_a·z_b        (sums over k, exact)

Σ b is taken while packing and lies behind the packed bytes, one int32 a lane, as one step more; Σ a
before the products of its row, by dot products with ones. Floats have no zero points, and a lane
takes one product at a time: their right operand is read as it lies.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.epilogue.base import Epilogue
from edgekiln.compiler.kernels.epilogue.codes import CodesEpilogue
from edgekiln.compiler.kernels.epilogue.finish import (
    ActivationFinish,
    DequantizeFinish,
    RequantizeFinish,
    SumsFinish,
)
from edgekiln.compiler.kernels.epilogue.floats import DequantizedEpilogue, FloatEpilogue
from edgekiln.compiler.kernels.epilogue.kept import SumsEpilogue
from edgekiln.compiler.kernels.matmul.emit_matrix import MatMulMatrixEmitter
from edgekiln.compiler.kernels.matmul.emit_tile import MatMulTileEmitter
from edgekiln.compiler.kernels.matmul.emit_unpacked import UnpackedTile
from edgekiln.compiler.kernels.matmul.pack import Packer
from edgekiln.compiler.kernels.matmul.plan import MatMulOperands, PackedPlan, UnpackedPlan
from edgekiln.compiler.kernels.matmul.spec import MatMulSpec
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tile import Tile
from edgekiln.compiler.kernels.tir import divmod_, let, loop, unravel
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import const, minimum


@dataclass(frozen=True, kw_only=True, eq=False)
class MatMulKernel(MatMulSpec):
    """A product, and how it is built.

    `pack` makes the kernel that packs b, of `packed_bytes` bytes, and `build` the one that
    multiplies. Floats are multiplied without packing.
    """

    SIGNED_AS: ClassVar[str] = "MatMul"

    def tiles(self, mk: MicroKernel) -> list[Tile]:
        """What `tile` may be, the default first, then what looks best."""
        plain = replace(self, tile=None)
        return UnpackedPlan(plain, mk).tiles if mk.k_step == 1 else PackedPlan(plain, mk).tiles

    def packed_bytes(self, mk: MicroKernel) -> int:
        """Bytes that `pack` writes."""
        return math.prod(self.batch) * PackedPlan(self, mk).matrix_bytes

    @shared
    def pack(self, mk: MicroKernel) -> Kernel:
        """Build the kernel that packs b."""
        plan = PackedPlan(self, mk)
        with KernelBuilder() as k:
            b = k.tensor(self.b.elements, mk.activation)
            # -z_a, by which Σ b is multiplied while packing.
            zero = k.constant(np.array([-self.zero_points[0]], np.int32))
            packed = k.tensor(self.packed_bytes(mk), "int8")
            # A work item is one matrix of the batch.
            packer = Packer(plan, b, packed, zero)
            begin, end = k.items(math.prod(self.batch))
            with loop(begin, end) as item:
                source = let(self.b.at(unravel(self.batch, item)))
                for block, at, column in plan.blocks(item):
                    packer.emit(block, at, source + column * self.b.column)
        return k.finish()

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel that multiplies: by b as it was packed, or as it lies."""
        return self._build_unpacked(mk) if mk.k_step == 1 else self._build_packed(mk)

    def _build_packed(self, mk: MicroKernel) -> Kernel:
        """Build the kernel that multiplies codes."""
        plan = PackedPlan(self, mk)
        with KernelBuilder() as k:
            a = k.tensor(self.a.elements, mk.activation)
            packed = k.tensor(self.packed_bytes(mk), "int8")
            # z_b, by which Σ a is multiplied.
            zero = k.constant(np.array([plan.shifted_zero_point], np.int32))
            epilogue = self._epilogue(plan, mk)
            epilogue.declare_constants(k, lambda every: every)
            operands = MatMulOperands(a, packed, zero)
            # The plan says whether vectors or the matrix unit multiply.
            if plan.tile is None:
                emitter: MatMulTileEmitter | MatMulMatrixEmitter = MatMulTileEmitter(
                    plan, operands, epilogue
                )
            else:
                configuration = k.constant(plan.tile.configuration())
                ones = k.constant(plan.tile_ones())
                emitter = MatMulMatrixEmitter(plan, operands, epilogue, configuration, ones)
            epilogue.declare_output(k)
            tiles = math.ceil(self.m / plan.rows)
            begin, end = k.items(math.prod(self.batch) * tiles)
            with emitter.ready(), loop(begin, end) as item:
                matrix, tile = divmod_(item, tiles)
                # The last tile overlaps its predecessor.
                matrix, first = (
                    let(matrix),
                    let(minimum(tile * plan.rows, const(self.m - plan.rows))),
                )
                # Operands find their matrix by strides: batch axes may be broadcast or permuted.
                indices = unravel(self.batch, matrix)
                source = let(self.a.at(indices) + first * self.a.row)
                to = let(self.y.at(indices) + first * self.y.row)
                emitter.emit(plan.blocks(matrix), source, to)
        return k.finish()

    def _epilogue(self, plan: PackedPlan, mk: MicroKernel) -> Epilogue:
        """Its sums start from K·z_a·z_b; every lane has the same factor."""
        lanes = max(v.lanes for block in plan.layout for v in block.vectors)
        start = self.k * self.zero_points[0] * plan.shifted_zero_point
        if isinstance(self.finish, SumsFinish):
            return SumsEpilogue(mk, self.result, np.full(lanes, start, np.int64))
        assert isinstance(self.finish, RequantizeFinish | DequantizeFinish)
        (factor,) = self.finish.mult
        mult, bias = np.full(lanes, factor, np.float32), np.full(lanes, start, np.int64)
        if isinstance(self.finish, DequantizeFinish):
            result = self.finish.floats.result(self.result)
            return DequantizedEpilogue(mk, self.result, mult, result, bias)
        return CodesEpilogue(mk, self.result, mult, self.finish.clip, None, bias)

    def _build_unpacked(self, mk: MicroKernel) -> Kernel:
        """Build the kernel that multiplies floats."""
        assert isinstance(self.finish, ActivationFinish)
        plan = UnpackedPlan(self, mk)
        rows, tiles = plan.tile.pixels, math.ceil(self.m / plan.tile.pixels)
        with KernelBuilder() as k:
            a, b = (k.tensor(side.elements, "float32") for side in (self.a, self.b))
            result = self.finish.result(self.result)
            epilogue = FloatEpilogue(mk, self.result, result, None, None)
            epilogue.declare_constants(k, lambda every: every)
            epilogue.declare_output(k)
            begin, end = k.items(math.prod(self.batch) * tiles)
            with loop(begin, end) as item:
                matrix, part = divmod_(item, tiles)
                first = let(minimum(part * rows, const(self.m - rows)))
                indices = unravel(self.batch, let(matrix))
                left = let(self.a.at(indices) + first * self.a.row)
                right = let(self.b.at(indices))
                to = let(self.y.at(indices) + first * self.y.row)
                for block, column in plan.blocks():
                    # Each block has accumulators of its own, which stay in registers over k.
                    tile = UnpackedTile(plan, block)
                    tile.multiply(a, b, (left, right + column))
                    tile.finish(epilogue, to + column)
        return k.finish()

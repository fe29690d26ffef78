"""Depthwise convolution: one filter a channel, vectors over channels.

For each column of the image up to `k_step` rows are interleaved into int32 lanes, once; one dot
product then multiplies them by a column of the filter. A column serves every tap that reaches it
and, with factors of 0 above or below the filter, every output row of its band: bytes of which there
are four for three rows of a filter otherwise go to waste. Where a lane takes one product at a time,
as of floats, there is nothing to interleave.

Where channels are few, several pixels fill a vector: to a filter that repeats, they are more
channels.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.depthwise.emit_fma import FmaEmitter
from edgekiln.compiler.kernels.depthwise.emit_pairs import PairTiles
from edgekiln.compiler.kernels.depthwise.emit_sweep import Sweep, zeros_for
from edgekiln.compiler.kernels.depthwise.emit_tile import Tiles
from edgekiln.compiler.kernels.depthwise.fma_plan import FmaPlan
from edgekiln.compiler.kernels.depthwise.operands import DepthwiseOperands, VectorPlace
from edgekiln.compiler.kernels.depthwise.pairs_plan import PairsPlan
from edgekiln.compiler.kernels.depthwise.plan import InterleavedPlan
from edgekiln.compiler.kernels.depthwise.spec import DepthwiseSpec
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tile import Tile
from edgekiln.compiler.kernels.tir import divmod_, let, loop, repeat, when
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, Index, const

# The ways through a band.
Columns = Sweep | Tiles | PairTiles


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthwiseKernel(DepthwiseSpec):
    """A depthwise convolution, and how it is built."""

    SIGNED_AS: ClassVar[str] = "Depthwise"

    def tiles(self, mk: MicroKernel) -> list[Tile]:
        """What `tile` may be, the default first, then what differs from it least."""
        default = replace(self, tile=None)._plan(mk)
        if isinstance(default, FmaPlan):
            return default.tiles
        mk, kind = mk.single, type(default)
        found = []
        for lanes in mk.lanes:
            if mk.width(lanes) <= 2 * mk.depthwise_registers:
                tile = Tile(pixels=1, vectors=1, lanes=lanes)
                # Every width of vectors that leaves room for some columns.
                found += kind(replace(self, tile=tile), mk).tiles()
        default = kind(replace(self, tile=None), mk)
        chosen, width = default.tile, default.lanes

        def distance(tile: Tile) -> float:
            return abs(tile.pixels - chosen.pixels) + abs(math.log2((tile.lanes or width) / width))

        return sorted(found, key=lambda tile: (tile != chosen, distance(tile)))

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        self.check()
        plan = self._plan(mk)
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            epilogue = self.finish.epilogue(plan.mk, self)
            epilogue.declare_inputs(k)
            weights = k.constant(plan.packed_weights())
            epilogue.declare_constants(k, plan.per_lane)
            match plan:
                case FmaPlan():
                    epilogue.declare_output(k)
                    items = k.items(self.y.n * self.y.h)
                    FmaEmitter(plan, x, weights, epilogue).emit(*items)
                case InterleavedPlan():
                    operands = DepthwiseOperands(plan=plan, x=x, weights=weights, epilogue=epilogue)
                    # Sweeps keep image columns in registers, tiles keep sums there.
                    columns: Columns = Tiles(operands)
                    if isinstance(plan, PairsPlan):
                        columns = PairTiles(operands, plan)
                    elif plan.sweeps:
                        zeros = k.constant(np.zeros(zeros_for(plan), np.int32))
                        columns = Sweep(operands=operands, zeros=zeros)
                    epilogue.declare_output(k)
                    bands = math.ceil(self.y.h / plan.rows)
                    _emit_bands(columns, k.items(self.y.n * bands))
        return k.finish()

    def _plan(self, mk: MicroKernel) -> InterleavedPlan | FmaPlan:
        """Choose the plan by what a lane of a dot product takes: several products, or one."""
        mk = mk.depthwise
        if mk.k_step == 1:
            return FmaPlan(self, mk)
        return PairsPlan(self, mk) if mk.halfwords else InterleavedPlan(self, mk)


def _emit_bands(columns: Columns, items: tuple[Expr, Expr]) -> None:
    """Emit the loops over items, each a band of output rows: first all borders, then the vectors of
    channels one after the other, so that the weights of one stay in the first-level cache.
    """
    plan, epilogue, (begin, end) = columns.operands.plan, columns.operands.epilogue, items
    y, rows = plan.conv.y, plan.rows
    bands = math.ceil(y.h / rows)
    with loop(begin, end) as item:
        n, band = _place(columns, item, bands)
        with repeat(rows) as row:
            h = let(band * rows + row)
            with _within(h, y.h, rows):
                fill_border(plan.mk, epilogue.out, y, n, h, epilogue.zero())
    lane = 0
    for block in plan.layout:
        (vector,) = block.vectors
        with repeat(block.count) as i:
            for share in columns.shares():
                with loop(begin, end) as item:
                    n, band = _place(columns, item, bands)
                    at = VectorPlace(
                        vector=vector, n=n, h=let(band * rows),
                        channel=let(vector.start + i * vector.lanes),
                        lane=let(lane + i * vector.lanes),
                    )  # fmt: skip
                    # The last band may have fewer rows; its code is another one.
                    if rest := y.h % rows:
                        with when(band < bands - 1):
                            share.emit(at, rows)
                        with when(band == bands - 1):
                            share.emit(at, rest)
                    else:
                        share.emit(at, rows)
        lane += block.count * vector.lanes


def _place(columns: Columns, item: Expr, bands: int) -> tuple[Expr, Expr]:
    """The image and the band of an item."""
    if isinstance(columns, PairTiles) and columns.plan.conv.y.n == 1:
        # A division takes as long as half an output on the chips that multiply pairs.
        return const(0), item
    return divmod_(item, bands)


def _within(h: Index, height: int, rows: int) -> AbstractContextManager[None]:
    """Guards against the rows that the last band does not have."""
    return when(h < height) if height % rows else nullcontext()

"""Depthwise convolution: one filter a channel, vectors over channels.

For each column of the image up to `k_step` rows are interleaved into int32 lanes, once; one dot
product then multiplies them by a column of the filter. A column serves every tap that reaches it
and, with factors of 0 above or below the filter, every output row of its band: bytes of which there
are four for three rows of a filter otherwise go to waste.

Where channels are few, several pixels fill a vector: to a filter that repeats, they are more
channels.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels import label
from edgekiln.compiler.kernels.border import assert_covered, fill_border
from edgekiln.compiler.kernels.depthwise.emit_sweep import Sweep, zeros_for
from edgekiln.compiler.kernels.depthwise.emit_tile import Tiles
from edgekiln.compiler.kernels.depthwise.operands import Operands, Place
from edgekiln.compiler.kernels.depthwise.plan import Plan
from edgekiln.compiler.kernels.epilogue.requantize import Epilogue, Residual, erased_convolution
from edgekiln.compiler.kernels.epilogue.sums import folded_bias, is_rectified
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tile import Tile
from edgekiln.compiler.kernels.tir import (
    Index,
    KernelBuilder,
    bind,
    divmod_,
    loop,
    turns,
    when,
)  # fmt: skip
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Depthwise2d:
    """y = epilogue(bias + Σ (x - zero point)·weight), channel by channel.

    Args:
        x: with a halo of at least `pads`; y has as many channels.
        weight: (C, 1, KH, KW) int8.
        bias, mult, clip, residual: as in `Conv2d`.
        tile: `pixels` counts vectors of output columns, `rows` output rows; chosen when None.
    """

    x: Nhwc
    y: Nhwc
    weight: "NDArray[np.int8]"
    bias: "NDArray[np.int32]"
    mult: "NDArray[np.float32]"
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    clip: tuple[int, int] = (0, 255)
    residual: Residual | None = None
    tile: Tile | None = None

    @property
    def label(self) -> str:
        return label.of_depthwise("depthwise", self)

    @property
    def shape(self) -> "Depthwise2d":
        """It without its numbers and its tile."""
        return replace(erased_convolution(self), tile=None)

    def tiles(self, mk: MicroKernel) -> list[Tile]:
        """What `tile` may be, the default first."""
        mk = mk.single
        found = []
        for lanes in mk.lanes:
            if mk.width(lanes) <= 2 * mk.depthwise_registers:
                tile = Tile(pixels=1, vectors=1, lanes=lanes)
                found += Plan(replace(self, tile=tile), mk).tiles()
        default = Plan(replace(self, tile=None), mk)
        chosen = default.tile

        def distance(tile: Tile) -> float:
            ratio = (tile.lanes or default.lanes) / default.lanes
            return abs(tile.pixels - chosen.pixels) + abs(math.log2(ratio))

        return sorted(found, key=lambda tile: (tile != chosen, distance(tile)))

    @shared(erased_convolution)
    def build(self, mk: MicroKernel) -> Kernel:
        size = self.weight.shape[2:]
        assert_covered(self.x, (self.y.h, self.y.w), size, self.strides, self.pads, self.dilations)
        plan = Plan(self, mk.depthwise)
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            epilogue = Epilogue(
                plan.mk, self.y, self.clip, self.residual, rectified=is_rectified(self)
            )
            epilogue.declare_inputs(k)
            weights = k.constant(plan.packed_weights())
            bias, mult = plan.per_lane(folded_bias(self)), plan.per_lane(self.mult)
            epilogue.declare_constants(k, bias, mult)
            zeros = k.constant(np.zeros(zeros_for(plan), np.int32)) if plan.sweeps else None
            epilogue.declare_output(k)
            operands = Operands(plan=plan, x=x, weights=weights, epilogue=epilogue)
            columns = Sweep(operands=operands, zeros=zeros) if plan.sweeps else Tiles(operands)
            _emit(plan, k, epilogue, columns)
        return k.finish()


def _emit(plan: Plan, k: KernelBuilder, epilogue: Epilogue, columns: "Sweep | Tiles") -> None:
    y, rows = plan.conv.y, plan.rows
    bands = math.ceil(y.h / rows)
    begin, end = k.items(y.n * bands)
    with loop(begin, end) as item:
        n, band = divmod_(item, bands)
        with turns(rows) as row:
            h = bind(band * rows + row)
            with _within(h, y.h, rows):
                fill_border(plan.mk, epilogue.out, y, n, h, epilogue.zero())
    lane = 0
    for block in plan.layout:
        (vector,) = block.vectors
        with turns(block.count) as i, loop(begin, end) as item:
            n, band = divmod_(item, bands)
            at = Place(
                vector=vector, n=n, h=bind(band * rows),
                channel=bind(vector.start + i * vector.lanes), lane=bind(lane + i * vector.lanes),
            )  # fmt: skip
            if rest := y.h % rows:
                with when(band < bands - 1):
                    columns.emit(at, rows)
                with when(band == bands - 1):
                    columns.emit(at, rest)
            else:
                columns.emit(at, rows)
        lane += block.count * vector.lanes


def _within(h: Index, height: int, rows: int) -> AbstractContextManager[None]:
    """Guards against the rows that the last band does not have."""
    return when(h < height) if height % rows else nullcontext()

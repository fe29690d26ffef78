"""Depthwise convolution: one filter a channel, vectors over channels.

For each column of the image up to four rows are interleaved into the bytes of an int32 lane, once;
one dot product then multiplies them by a column of the filter. Output columns slide over the image
columns of their tile, so a column serves every tap that reaches it.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.kernels.border import assert_covered, fill_border
from edgekiln.compiler.kernels.channels import Block, Vector, blocks, expand, pack_channels, vectors
from edgekiln.compiler.kernels.epilogue import Epilogue, Residual
from edgekiln.compiler.kernels.spec import Kernel, Nhwc
from edgekiln.compiler.kernels.tir import (
    Buffer,
    Index,
    KernelBuilder,
    bind,
    divmod_,
    load,
    loop,
    register,
    store,
    turns,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, MicroKernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Depthwise2d:
    """y = epilogue(bias + Σ (x - zero point)·weight), channel by channel.

    Args:
        x: with a halo of at least `pads`; y has as many channels.
        weight: (C, 1, KH, KW) int8.
        bias, mult, clip, residual, table: as in `Conv2d`.
        columns: output columns of a register tile; chosen when None.
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
    table: "NDArray[np.uint8] | None" = None
    columns: int | None = None

    def build(self, mk: MicroKernel) -> Kernel:
        size = self.weight.shape[2:]
        assert_covered(self.x, (self.y.h, self.y.w), size, self.strides, self.pads, self.dilations)
        mk = mk.single
        # Wider vectors would leave too few registers for columns.
        most = max(lanes for lanes in mk.lanes if mk.width(lanes) <= mk.depthwise_registers)
        layout = blocks(vectors(self.x.c, mk, most), 1)
        sums = self.weight.astype(np.int64).sum(axis=(1, 2, 3))
        bias = (self.bias.astype(np.int64) - self.x.zero_point * sums).astype(np.int32)
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            epilogue = Epilogue(mk, self.y, self.clip, self.residual)
            epilogue.declare_inputs(k)
            weights = k.constant(self._packed_weights(mk, layout))
            lanes = pack_channels(bias, layout), pack_channels(self.mult, layout)
            epilogue.declare_constants(k, *lanes, self.table)
            epilogue.declare_output(k)
            begin, end = k.items(self.y.n * self.y.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(epilogue.out, self.y, n, h, epilogue.zero())
            lane = 0
            for block in layout:
                (vector,) = block.vectors
                with turns(block.count) as i, loop(begin, end) as item:
                    n, h = divmod_(item, self.y.h)
                    at = _Place(
                        n=n, h=h, channel=bind(vector.start + i * vector.lanes),
                        lane=bind(lane + i * vector.lanes),
                    )  # fmt: skip
                    self._row(mk, x, weights, epilogue, vector, at)
                lane += block.count * vector.lanes
        return k.finish()

    @property
    def _chunks(self) -> int:
        """Groups of up to four rows of the filter."""
        rows: int = self.weight.shape[2]
        return math.ceil(rows / 4)

    def _packed_weights(self, mk: MicroKernel, layout: tuple[Block, ...]) -> "NDArray[np.int8]":
        """[vector][rows of four][kw][lane][4]; missing rows and lanes are 0."""
        c, _, kh, kw = self.weight.shape
        padded = np.zeros((c, self._chunks * mk.k_step, kw), np.int8)
        padded[:, :kh] = self.weight[:, 0]
        filters = padded.reshape(c, self._chunks, mk.k_step, kw).transpose(1, 3, 0, 2)
        parts = []
        for block in layout:
            for (vector,) in expand(block):
                part = np.zeros((self._chunks, kw, vector.lanes, mk.k_step), np.int8)
                part[:, :, : vector.valid] = filters[
                    :, :, vector.start : vector.start + vector.valid
                ]
                parts.append(mk.arrange(part).reshape(-1))
        return np.concatenate(parts)

    def _tile(self, mk: MicroKernel, lanes: int) -> int:
        """Output columns at once: enough to reuse image columns, as many as registers hold."""
        if self.columns:
            return min(self.columns, self.y.w)
        taps = self._chunks * self.weight.shape[3] * mk.weight_registers
        spare = (mk.registers - 4) // mk.width(lanes) - taps
        most = max(1, min(self.y.w, spare, 12))
        stride = self.strides[1]
        kw: int = self.weight.shape[3]

        def cost(size: int) -> float:
            image_columns = (size - 1) * stride + (kw - 1) * self.dilations[1] + 1
            return math.ceil(self.y.w / size) * (size * (kw + 6) + 6 * image_columns)

        return min(range(1, most + 1), key=cost)

    def _row(
        self, mk: MicroKernel, x: Buffer, weights: Buffer, epilogue: Epilogue, vector: Vector,
        at: "_Place",
    ) -> None:  # fmt: skip
        size = self._tile(mk, vector.lanes)
        whole = self.y.w // size
        with turns(whole) as i:
            self._columns(mk, x, weights, epilogue, vector, at, bind(i * size), size)
        if self.y.w % size:
            start = self.y.w - size
            self._columns(mk, x, weights, epilogue, vector, at, start, size)

    def _columns(
        self, mk: MicroKernel, x: Buffer, weights: Buffer, epilogue: Epilogue, vector: Vector,
        at: "_Place", start: Index, size: int,
    ) -> None:  # fmt: skip
        """One register tile: `size` output columns of one row and one vector of channels."""
        lanes, kw = vector.lanes, self.weight.shape[3]
        sums = [register("int32", lanes) for _ in range(size)]
        for acc in sums:
            store(acc, 0, epilogue.bias(at.lane, lanes), lanes)
        packed = bind(at.lane * (self._chunks * kw * mk.k_step))
        first = bind(
            self.x.index(
                at.n,
                at.h * self.strides[0] - self.pads[0],
                start * self.strides[1] - self.pads[1],
                at.channel,
            )
        )
        for chunk in range(self._chunks):
            taps = [
                load(weights, packed + (chunk * kw + tap) * lanes * mk.k_step, lanes * mk.k_step)
                for tap in range(kw)
            ]
            for column, uses in self._uses(size).items():
                rows = self._rows(x, first + column * self.x.c, chunk, lanes)
                a = register(mk.activation, lanes * mk.k_step)
                store(a, 0, mk.interleave(rows, lanes), lanes * mk.k_step)
                for output, tap in uses:
                    data = load(a, 0, lanes * mk.k_step)
                    acc = sums[output]
                    store(acc, 0, mk.dot(load(acc, 0, lanes), data, taps[tap], lanes), lanes)
        for output, acc in enumerate(sums):
            y = bind(self.y.index(at.n, at.h, start + output, at.channel))
            other = None
            if self.residual:
                other = bind(self.residual.tensor.index(at.n, at.h, start + output, at.channel))
            epilogue.emit(load(acc, 0, lanes), at.lane, y, other, lanes, vector.valid)

    def _uses(self, size: int) -> dict[int, list[tuple[int, int]]]:
        """Image column → (output column, tap) pairs that read it, from left to right."""
        uses: dict[int, list[tuple[int, int]]] = {}
        for output in range(size):
            for tap in range(self.weight.shape[3]):
                column = output * self.strides[1] + tap * self.dilations[1]
                uses.setdefault(column, []).append((output, tap))
        return dict(sorted(uses.items()))

    def _rows(self, x: Buffer, column: Index, chunk: int, lanes: int) -> list[Expr]:
        """Rows 4·chunk… of an image column."""
        rows = range(4 * chunk, min(4 * chunk + 4, self.weight.shape[2]))
        return [load(x, column + row * self.dilations[0] * self.x.row, lanes) for row in rows]


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a row is: image, output row, first channel, that channel's lane in the constants."""

    n: Index
    h: Index
    channel: Index
    lane: Index

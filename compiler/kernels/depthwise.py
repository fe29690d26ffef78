"""Depthwise convolution: one filter a channel, vectors over channels.

For each column of the image up to `k_step` rows are interleaved into int32 lanes, once; one dot
product then multiplies them by a column of the filter. Output columns slide over the image
columns of their tile, so a column serves every tap that reaches it, and leave as soon as their last
one has come.

Where channels are few, several pixels fill a vector: to a filter that repeats, they are more
channels.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.kernels import label
from edgekiln.compiler.kernels.border import assert_covered, fill_border
from edgekiln.compiler.kernels.channels import Vector, blocks, expand, pack_channels, vectors
from edgekiln.compiler.kernels.epilogue import Epilogue, Residual, erased_convolution
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.spec import Kernel, Nhwc
from edgekiln.compiler.kernels.sums import folded_bias, is_rectified
from edgekiln.compiler.kernels.tile import Tile
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
from edgekiln.targets.isa.base import Expr, MicroKernel, pick

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Between pixels that share a vector: all of them are read, and up to 32 bytes behind the last.
_MOST_STRIDE = 2
_LANE_BYTES = 4  # of the operands of a dot product
_MOST_COLUMNS = 6  # of a tile: more would save little and make long code


@dataclass(frozen=True, kw_only=True, eq=False)
class Depthwise2d:
    """y = epilogue(bias + Σ (x - zero point)·weight), channel by channel.

    Args:
        x: with a halo of at least `pads`; y has as many channels.
        weight: (C, 1, KH, KW) int8.
        bias, mult, clip, residual: as in `Conv2d`.
        tile: `pixels` counts vectors of output columns; chosen when None.
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
            plan = _Plan(replace(self, tile=Tile(pixels=1, vectors=1, lanes=lanes)), mk)
            sizes = range(1, min(self.y.w // plan.together, _MOST_COLUMNS) + 1)
            if mk.width(lanes) <= 2 * mk.depthwise_registers:
                found += [Tile(pixels=size, vectors=1, lanes=lanes) for size in sizes]
        default = _Plan(replace(self, tile=None), mk)
        chosen = Tile(pixels=default.tile(), vectors=1, lanes=default.lanes)
        return sorted(found, key=lambda tile: (tile != chosen, abs(tile.pixels - chosen.pixels)))

    @shared(erased_convolution)
    def build(self, mk: MicroKernel) -> Kernel:
        size = self.weight.shape[2:]
        assert_covered(self.x, (self.y.h, self.y.w), size, self.strides, self.pads, self.dilations)
        return _Plan(self, mk.depthwise).build()


class _Plan:
    """The numbers of one depthwise convolution on one instruction set."""

    def __init__(self, conv: Depthwise2d, mk: MicroKernel) -> None:
        self.conv, self.mk = conv, mk
        self.kh: int = conv.weight.shape[2]
        self.kw: int = conv.weight.shape[3]
        self.chunks = math.ceil(self.kh / mk.k_step)  # groups of rows of the filter
        # Wider vectors would leave too few registers for columns.
        most = max(lanes for lanes in mk.lanes if mk.width(lanes) <= mk.depthwise_registers)
        if conv.tile and conv.tile.lanes:
            most = conv.tile.lanes
        self.lanes = most
        self.together = 1  # pixels in a vector
        if conv.strides[1] <= _MOST_STRIDE and most % conv.x.c == 0 and conv.y.w * conv.x.c >= most:
            self.together = most // conv.x.c
        self.layout = blocks(vectors(conv.x.c * self.together, mk, most), 1)

    def build(self) -> Kernel:
        conv, mk = self.conv, self.mk
        with KernelBuilder() as k:
            x = k.tensor(conv.x.elements, conv.x.dtype)
            epilogue = Epilogue(mk, conv.y, conv.clip, conv.residual, rectified=is_rectified(conv))
            epilogue.declare_inputs(k)
            weights = k.constant(self._packed_weights())
            bias, mult = self._per_lane(folded_bias(conv)), self._per_lane(conv.mult)
            epilogue.declare_constants(k, bias, mult)
            epilogue.declare_output(k)
            begin, end = k.items(conv.y.n * conv.y.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, conv.y.h)
                fill_border(mk, epilogue.out, conv.y, n, h, epilogue.zero())
            lane = 0
            for block in self.layout:
                (vector,) = block.vectors
                with turns(block.count) as i, loop(begin, end) as item:
                    n, h = divmod_(item, conv.y.h)
                    at = _Place(
                        n=n, h=h, channel=bind(vector.start + i * vector.lanes),
                        lane=bind(lane + i * vector.lanes),
                    )  # fmt: skip
                    self._row(x, weights, epilogue, vector, at)
                lane += block.count * vector.lanes
        return k.finish()

    def _per_lane(self, values: "NDArray[np.generic]") -> "NDArray[np.generic]":
        repeated = np.concatenate([values] * self.together)
        return pack_channels(repeated, self.layout, self.mk.interleaved)

    def _packed_weights(self) -> "NDArray[np.int8]":
        """[vector][rows by the k_step][kw][lane][k_step]; missing rows and lanes are 0."""
        width = self.mk.k_step
        padded = np.zeros((len(self.conv.weight), self.chunks * width, self.kw), np.int8)
        padded[:, : self.kh] = self.conv.weight[:, 0]
        filters = padded.reshape(-1, self.chunks, width, self.kw).transpose(0, 1, 3, 2)
        lanes: NDArray[np.int8] = self._per_lane(filters).astype(np.int8, copy=False)
        parts, start = [], 0
        for block in self.layout:
            for (vector,) in expand(block):
                part = lanes[start : start + vector.lanes].transpose(1, 2, 0, 3)
                parts.append(self.mk.arrange(part).reshape(-1))
                start += vector.lanes
        return np.concatenate(parts)

    def tile(self) -> int:
        """Vectors of output columns at once: enough to reuse image columns."""
        every = self.conv.y.w // self.together
        if self.conv.tile:
            return min(self.conv.tile.pixels, every)

        def cost(size: int) -> float:
            tiles = math.ceil(self.conv.y.w / (size * self.together))
            return tiles * (size * (self.kw + 6) + 6 * len(self._uses(size)))

        return min(range(1, min(every, _MOST_COLUMNS) + 1), key=cost)

    def _row(
        self, x: Buffer, weights: Buffer, epilogue: Epilogue, vector: Vector, at: "_Place"
    ) -> None:
        size = self.tile()
        pixels = size * self.together
        with turns(self.conv.y.w // pixels) as i:
            self._columns(x, weights, epilogue, vector, at, bind(i * pixels), size)
        if self.conv.y.w % pixels:
            self._columns(x, weights, epilogue, vector, at, self.conv.y.w - pixels, size)

    def _columns(
        self, x: Buffer, weights: Buffer, epilogue: Epilogue, vector: Vector, at: "_Place",
        start: Index, size: int,
    ) -> None:  # fmt: skip
        """One register tile: `size` vectors of output columns of one row."""
        conv, mk, lanes = self.conv, self.mk, vector.lanes
        count = lanes * _LANE_BYTES
        sums = [register("int32", lanes) for _ in range(size)]
        packed = bind(at.lane * (self.chunks * self.kw * _LANE_BYTES))
        top, left = at.h * conv.strides[0] - conv.pads[0], start * conv.strides[1] - conv.pads[1]
        first = bind(conv.x.index(at.n, top, left, at.channel))
        for column, uses in self._uses(size).items():
            for output, tap in uses:
                if tap == 0:
                    store(sums[output], 0, epilogue.bias(at.lane, lanes), lanes)
            for chunk in range(self.chunks):
                rows = self._rows(x, first + column * conv.x.c, chunk, lanes)
                a = register(mk.activation, count)
                store(a, 0, mk.interleave(rows, lanes), count)
                for output, tap in uses:
                    w = load(weights, packed + (chunk * self.kw + tap) * count, count)
                    acc = load(sums[output], 0, lanes)
                    store(sums[output], 0, mk.dot(acc, load(a, 0, count), w, lanes), lanes)
            for output, tap in uses:
                if tap == self.kw - 1:
                    pixel = start + output * self.together
                    self._finish(epilogue, vector, at, pixel, sums[output])

    def _finish(
        self, epilogue: Epilogue, vector: Vector, at: "_Place", w: Index, acc: Buffer
    ) -> None:
        y = bind(self.conv.y.index(at.n, at.h, w, at.channel))
        other = None
        if self.conv.residual:
            other = bind(self.conv.residual.tensor.index(at.n, at.h, w, at.channel))
        lanes = vector.lanes
        order = self.mk.interleaved(lanes)
        epilogue.emit(load(acc, 0, lanes), at.lane, y, other, lanes, vector.valid, order)

    def _uses(self, size: int) -> dict[int, list[tuple[int, int]]]:
        """Image column → (vector of output columns, tap) pairs that read it, from left to right."""
        uses: dict[int, list[tuple[int, int]]] = {}
        for output in range(size):
            for tap in range(self.kw):
                column = output * self.together * self.conv.strides[1]
                column += tap * self.conv.dilations[1]
                uses.setdefault(column, []).append((output, tap))
        return dict(sorted(uses.items()))

    def _rows(self, x: Buffer, column: Index, chunk: int, lanes: int) -> list[Expr]:
        """The chunk's rows of an image column; of several, a stride apart, where pixels share a
        vector.
        """
        step = self.conv.dilations[0] * self.conv.x.row
        first = chunk * self.mk.k_step
        rows = [column + row * step for row in range(first, min(first + self.mk.k_step, self.kh))]
        stride = self.conv.strides[1]
        if self.together == 1 or stride == 1:
            return [load(x, row, lanes) for row in rows]
        c = self.conv.x.c
        chosen = [pixel * stride * c + at for pixel in range(self.together) for at in range(c)]
        return [pick([load(x, row, stride * lanes)], chosen) for row in rows]


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a row is: image, output row, first channel, that channel's lane in the constants."""

    n: Index
    h: Index
    channel: Index
    lane: Index

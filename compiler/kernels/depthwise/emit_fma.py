"""Depthwise convolution of floats: one filter a channel, vectors over channels.

A register tile is some output columns of one row. Output columns slide over the image columns of
their tile, so a vector of an image column is loaded once for every tap that reaches it. Where
channels are few, several pixels fill a vector: to a filter that repeats, they are more channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels import label
from edgekiln.compiler.kernels.border import assert_covered, fill_border
from edgekiln.compiler.kernels.channels import Vector, blocks, pack_channels, vectors
from edgekiln.compiler.kernels.epilogue.floats import NO_CLIP, FloatEpilogue, erased_convolution
from edgekiln.compiler.kernels.epilogue.requantize import Residual
from edgekiln.compiler.kernels.function import Function
from edgekiln.compiler.kernels.sharing import shared
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
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import Expr, MicroKernel, pick

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Between pixels that share a vector: all of them are read, and up to 64 bytes behind the last.
_MOST_STRIDE = 2
_MOST_COLUMNS = 8  # of a tile: more would save little and make long code


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatDepthwise2d:
    """y = epilogue(bias + Σ x·weight), channel by channel.

    Args:
        x: with a halo of at least `pads`; y has as many channels.
        weight: (C, 1, KH, KW) float32.
        bias: (C,) float32.
        clip, residual, function: see `FloatEpilogue`.
        tile: `pixels` counts vectors of output columns; chosen when None.
    """

    x: Nhwc
    y: Nhwc
    weight: "NDArray[np.float32]"
    bias: "NDArray[np.float32]"
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    clip: tuple[float, float] = NO_CLIP
    residual: Residual | None = None
    function: Function = ()
    tile: Tile | None = None

    @property
    def label(self) -> str:
        return label.of_depthwise("float depthwise", self) + label.of_function(self.function)

    @property
    def shape(self) -> "FloatDepthwise2d":
        """It without its numbers and its tile."""
        return replace(erased_convolution(self), tile=None)

    def tiles(self, mk: MicroKernel) -> list[Tile]:
        """What `tile` may be, the default first, then what differs from it least."""
        most = _Plan(replace(self, tile=None), mk).tile.pixels
        return [Tile(pixels=columns, vectors=1) for columns in range(most, 0, -1)]

    @shared(erased_convolution)
    def build(self, mk: MicroKernel) -> Kernel:
        size = self.weight.shape[2:]
        assert_covered(self.x, (self.y.h, self.y.w), size, self.strides, self.pads, self.dilations)
        return _Plan(self, mk).build()


class _Plan:
    """The numbers of one depthwise convolution on one instruction set."""

    def __init__(self, conv: FloatDepthwise2d, mk: MicroKernel) -> None:
        self.conv, self.mk = conv, mk
        self.kh: int = conv.weight.shape[2]
        self.kw: int = conv.weight.shape[3]
        most = mk.register
        self.together = 1  # pixels in a vector
        if conv.strides[1] <= _MOST_STRIDE and most % conv.x.c == 0 and conv.y.w * conv.x.c >= most:
            self.together = most // conv.x.c
        self.layout = blocks(vectors(conv.x.c * self.together, mk, most), 1)
        # The sums and a row of the filter stay in registers, beside one of the image.
        room = mk.registers - self.kw - 1
        columns = max(1, min(_MOST_COLUMNS, room, conv.y.w // self.together))
        self.tile = conv.tile or Tile(pixels=columns, vectors=1)

    def build(self) -> Kernel:
        conv = self.conv
        with KernelBuilder() as k:
            x = k.tensor(conv.x.elements, "float32")
            epilogue = FloatEpilogue(self.mk, conv.y, conv.clip, conv.residual, conv.function)
            epilogue.declare_inputs(k)
            weights = k.constant(self._packed_weights())
            epilogue.declare_constants(k, self._per_lane(conv.bias))
            epilogue.declare_output(k)
            begin, end = k.items(conv.y.n * conv.y.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, conv.y.h)
                fill_border(self.mk, epilogue.out, conv.y, n, h, epilogue.zero())
            lane = 0
            for block in self.layout:
                (vector,) = block.vectors
                with turns(block.count) as i, loop(begin, end) as item:
                    n, h = divmod_(item, conv.y.h)
                    at = _Row(
                        n=n, h=h, channel=bind(vector.start + i * vector.lanes),
                        lane=bind(lane + i * vector.lanes),
                    )  # fmt: skip
                    for start in self._tiles():
                        self._tile(x, weights, epilogue, vector, at, start)
                lane += block.count * vector.lanes
        return k.finish()

    def _per_lane(self, values: "NDArray[np.generic]") -> "NDArray[np.generic]":
        return pack_channels(np.concatenate([values] * self.together), self.layout)

    def _packed_weights(self) -> "NDArray[np.generic]":
        """[vector][kh][kw][lane]; missing lanes are 0."""
        lanes = self._per_lane(self.conv.weight.reshape(-1, self.kh * self.kw))
        parts, start = [], 0
        for block in self.layout:
            for _ in range(block.count):
                stop = start + block.channels
                parts.append(lanes[start:stop].T.reshape(-1))
                start = stop
        return np.concatenate(parts)

    def _tiles(self) -> Iterator[Index]:
        """First output columns; the last tile may overlap the one before."""
        pixels = self.tile.pixels * self.together
        with turns(self.conv.y.w // pixels) as i:
            yield bind(i * pixels)
        if self.conv.y.w % pixels:
            yield self.conv.y.w - pixels

    def _tile(
        self, x: Buffer, weights: Buffer, epilogue: FloatEpilogue, vector: Vector, at: "_Row",
        start: Index,
    ) -> None:  # fmt: skip
        conv, lanes = self.conv, vector.lanes
        sums = [register("float32", lanes) for _ in range(self.tile.pixels)]
        for total in sums:
            store(total, 0, epilogue.bias(at.lane, lanes), lanes)
        top, left = at.h * conv.strides[0] - conv.pads[0], start * conv.strides[1] - conv.pads[1]
        first = bind(conv.x.index(at.n, top, left, at.channel))
        packed = bind(at.lane * (self.kh * self.kw))
        for row in range(self.kh):
            taps = [
                bind(load(weights, packed + (row * self.kw + tap) * lanes, lanes))
                for tap in range(self.kw)
            ]
            for column, uses in self._uses().items():
                source = first + row * conv.dilations[0] * conv.x.row + column * conv.x.c
                pixel = bind(self._column(x, source, lanes))
                for output, tap in uses:
                    acc = load(sums[output], 0, lanes)
                    store(sums[output], 0, self.mk.fma(pixel, taps[tap], acc, lanes), lanes)
        for output, total in enumerate(sums):
            w = start + output * self.together
            y = bind(conv.y.index(at.n, at.h, w, at.channel))
            other = None
            if conv.residual:
                other = bind(conv.residual.tensor.index(at.n, at.h, w, at.channel))
            epilogue.emit(load(total, 0, lanes), at.lane, y, other, lanes, vector.valid)

    def _uses(self) -> dict[int, list[tuple[int, int]]]:
        """Image column → (vector of output columns, tap) pairs that read it, from left to right."""
        uses: dict[int, list[tuple[int, int]]] = {}
        for output in range(self.tile.pixels):
            for tap in range(self.kw):
                column = output * self.together * self.conv.strides[1]
                column += tap * self.conv.dilations[1]
                uses.setdefault(column, []).append((output, tap))
        return dict(sorted(uses.items()))

    def _column(self, x: Buffer, at: Index, lanes: int) -> Expr:
        """The channels of a pixel; of several, a stride apart, where pixels share a vector."""
        stride, c = self.conv.strides[1], self.conv.x.c
        if self.together == 1 or stride == 1:
            return load(x, at, lanes)
        chosen = [pixel * stride * c + i for pixel in range(self.together) for i in range(c)]
        return pick([load(x, at, stride * lanes)], chosen)


@dataclass(frozen=True, kw_only=True)
class _Row:
    """Where a row is: image, output row, first channel, that channel's lane in the constants."""

    n: Index
    h: Index
    channel: Index
    lane: Index

"""Convolution as an implicit matrix product, without boundary conditions: the input has a halo.

One work item is a row of output pixels, or a tile of them where rows join. Output channels are
vectors; a register tile of pixels × vectors accumulates over k, the flattened (kh, kw, ic). For one
kh the taps (kw, ic) lie side by side in memory, so k runs over KW·IC bytes in steps of four
whatever the channel count; the last step may read bytes of the next pixel, whose weights are zero.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.kernels.border import assert_covered, fill_border
from edgekiln.compiler.kernels.channels import (
    Block,
    Vector,
    blocks,
    pack_channels,
    pack_weights,
    vectors,
)
from edgekiln.compiler.kernels.epilogue import Epilogue, Residual
from edgekiln.compiler.kernels.spec import F32, Kernel, Nhwc
from edgekiln.compiler.kernels.tile import Tile, cycles, default_tile
from edgekiln.compiler.kernels.tir import (
    Buffer,
    Index,
    KernelBuilder,
    bind,
    const,
    divmod_,
    load,
    loop,
    minimum,
    register,
    store,
    turns,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, MicroKernel, pick, splat

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv2d:
    """y = epilogue(bias + Σ (x - zero point)·weight).

    Args:
        x: with a halo of at least `pads`.
        y: quantized, or float sums times `mult`.
        weight: (OC, IC / groups, KH, KW) int8.
        bias: (OC,) int32, in units of s_x·s_w.
        mult: (OC,) float32, see `epilogue.multiplier`.
        pads: top, left.
        clip: lowest and highest code of y.
        table: 256 codes by which y is replaced before it is stored.
    """

    x: Nhwc
    y: Nhwc | F32
    weight: "NDArray[np.int8]"
    bias: "NDArray[np.int32]"
    mult: "NDArray[np.float32]"
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    groups: int = 1
    clip: tuple[int, int] = (0, 255)
    residual: Residual | None = None
    table: "NDArray[np.uint8] | None" = None
    tile: Tile | None = None

    def build(self, mk: MicroKernel) -> Kernel:
        size = self.weight.shape[2:]
        assert_covered(self.x, (self.y.h, self.y.w), size, self.strides, self.pads, self.dilations)
        plan = _Plan(self, mk)
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            epilogue = Epilogue(mk, self.y, self.clip, self.residual)
            epilogue.declare_inputs(k)
            weights = k.constant(plan.packed_weights())
            bias, mult = plan.per_lane(self._folded_bias()), plan.per_lane(self.mult)
            epilogue.declare_constants(k, bias, mult, self.table)
            epilogue.declare_output(k)
            begin, end = k.items(plan.work)
            if isinstance(self.y, Nhwc) and self.y.halo:
                with loop(begin, end) as item:
                    n, h = divmod_(item, self.y.h)
                    fill_border(epilogue.out, self.y, n, h, epilogue.zero())
            for channels in plan.channel_blocks():
                with loop(begin, end) as item:
                    for start in plan.tiles(item):
                        plan.emit(x, weights, epilogue, channels, item, start)
        return k.finish()

    def _folded_bias(self) -> "NDArray[np.int32]":
        """bias - zero_point · Σ weight, modulo 2³²: then sums need no subtraction."""
        sums = self.weight.astype(np.int64).sum(axis=(1, 2, 3))
        folded: NDArray[np.int32] = (self.bias.astype(np.int64) - self.x.zero_point * sums).astype(
            np.int32
        )
        return folded


@dataclass(frozen=True)
class _Channels:
    """The block of output channels that is being emitted."""

    block: Block
    x_offset: Index  # of the group's first input channel
    weights: Index  # of the block's packed weights
    lane: Index  # of its first lane in bias and mult
    y_channel: Index  # its first output channel


class _Plan:
    """The numbers of one convolution on one instruction set."""

    def __init__(self, conv: Conv2d, mk: MicroKernel) -> None:
        self.conv = conv
        oc, self.ic, self.kh, self.kw = conv.weight.shape
        self.oc = oc // conv.groups
        y = conv.y
        # A 1×1 convolution over dense images sees one long row: tiles need not end with its own.
        self.joined = self._is_pointwise_and_dense()
        self.pixels = y.n * y.h * y.w if self.joined else y.w
        pixels = conv.tile.pixels if conv.tile else self.pixels // mk.rows * mk.rows
        self.mk = mk = mk if pixels and pixels % mk.rows == 0 else mk.single
        # Taps that lie side by side in memory: a row of the kernel, or one pixel's channels.
        self.flat = conv.groups == 1 and (conv.dilations[1] == 1 or self.kw == 1)
        run = self.ic * self.kw if self.flat else self.ic
        self.steps = math.ceil(run / mk.k_step)
        self.taps = self.kh if self.flat else self.kh * self.kw
        columns, self.tile = self._tiling(conv.tile)
        self.work = math.ceil(self.pixels / self.tile.pixels) if self.joined else y.n * y.h
        self.layout = blocks(columns, self.tile.vectors)
        # Pixels whose results leave together: where one vector is all of a pixel.
        alone = conv.groups == 1 and self.oc == columns[0].lanes
        self.together = min(self.tile.pixels, mk.lanes[0] // self.oc) if alone else 1

    def _tiling(self, given: Tile | None) -> tuple[tuple[Vector, ...], Tile]:
        """The output channels as vectors, and the register tile: the cheapest of every width."""
        if given:
            return vectors(self.oc, self.mk, given.lanes), given
        numbers = {"pixels": self.pixels, "k_steps": self.taps * self.steps}
        choices = []
        for lanes in self.mk.lanes:
            columns = vectors(self.oc, self.mk, lanes)
            tile = default_tile(self.mk, columns=columns, **numbers)
            tile = replace(tile, lanes=lanes)
            choices.append((cycles(self.mk, tile, columns=columns, **numbers), columns, tile))
        _, columns, tile = min(choices, key=lambda choice: choice[0])
        return columns, tile

    def _is_pointwise_and_dense(self) -> bool:
        conv = self.conv
        tensors = [conv.x, conv.y, *([conv.residual.tensor] if conv.residual else [])]
        dense = all(isinstance(t, F32) or not t.halo for t in tensors)
        return dense and (self.kh, self.kw) == (1, 1) == conv.strides and conv.pads == (0, 0)

    @cached_property
    def group_lanes(self) -> int:
        return sum(block.count * block.channels for block in self.layout)

    def packed_weights(self) -> "NDArray[np.int8]":
        """[group][block][tap][step][vector][lane][k_step]."""
        conv, width = self.conv, self.mk.k_step
        runs = conv.weight.transpose(0, 2, 3, 1).reshape(conv.weight.shape[0], self.taps, -1)
        steps = np.zeros((len(runs), self.taps, self.steps * width), np.int8)
        steps[:, :, : runs.shape[2]] = runs
        steps = steps.reshape(conv.groups, self.oc, self.taps * self.steps, width)
        return np.concatenate([pack_weights(group, self.layout, self.mk) for group in steps])

    def per_lane(self, values: "NDArray[np.generic]") -> "NDArray[np.generic]":
        groups = values.reshape(self.conv.groups, self.oc)
        lanes = np.concatenate([pack_channels(group, self.layout) for group in groups])
        return np.concatenate([lanes] * self.together)

    def channel_blocks(self) -> Iterator[_Channels]:
        """Every block of every group, inside loops where they are alike."""
        lane = 0
        block_bytes = self.taps * self.steps * self.mk.k_step
        with turns(self.conv.groups) as g:
            for block in self.layout:
                with turns(block.count) as i:
                    at = bind(g * self.group_lanes + i * block.channels + lane)
                    yield _Channels(
                        block=block,
                        x_offset=g * self.ic,
                        weights=bind(at * block_bytes),
                        lane=at,
                        y_channel=bind(g * self.oc + i * block.channels + block.vectors[0].start),
                    )
                lane += block.count * block.channels

    def tiles(self, item: Expr) -> Iterator[Index]:
        """First pixels of the item's tiles; the last one of a row overlaps its predecessor."""
        size = self.tile.pixels
        if self.joined:
            yield bind(minimum(item * size, const(self.pixels - size)))
            return
        whole = self.pixels // size
        with turns(whole) as i:
            yield bind(i * size)
        if self.pixels % size:
            yield self.pixels - size

    def emit(
        self, x: Buffer, weights: Buffer, epilogue: Epilogue, channels: _Channels, item: Expr,
        start: Index,
    ) -> None:  # fmt: skip
        """One register tile: sums, then the epilogue of each vector."""
        conv, mk = self.conv, self.mk
        chosen = channels.block.vectors
        sums = [
            [
                [register("int32", mk.rows * v.lanes) for v in chosen]
                for _ in range(self.tile.pixels // mk.rows)
            ]
            for _ in range(self.tile.splits)
        ]
        self._start_sums(sums, epilogue, channels)
        n, h, w = self._pixel(item, start)
        sh, sw = conv.strides
        first = bind(
            conv.x.index(n, h * sh - conv.pads[0], w * sw - conv.pads[1], channels.x_offset)
        )
        self._accumulate(x, weights, channels, first, sums)
        y = bind(conv.y.index(n, h, w, channels.y_channel))
        other = None
        if conv.residual:
            other = bind(conv.residual.tensor.index(n, h, w, channels.y_channel))
        for pixel, lane, vector, value in self._joined_pixels([*self._results(sums, chosen)]):
            place = pixel * conv.y.c + vector.start - chosen[0].start
            beside = None if other is None else other + place
            epilogue.emit(
                value, channels.lane + lane, y + place, beside, vector.lanes, vector.valid
            )

    def _results(
        self, sums: list[list[list[Buffer]]], chosen: tuple[Vector, ...]
    ) -> Iterator[tuple[int, int, Vector, Expr]]:
        """Pixel, first lane, vector and sums of all that a tile computes."""
        rows = self.mk.rows
        for row in range(self.tile.pixels // rows):
            lane = 0
            for v, vector in enumerate(chosen):
                acc = load(sums[0][row][v], 0, rows * vector.lanes)
                for part in sums[1:]:
                    acc = acc + load(part[row][v], 0, rows * vector.lanes)
                for pixel, value in enumerate(self.mk.finish(acc, vector.lanes), row * rows):
                    yield pixel, lane, vector, value
                lane += vector.lanes

    def _joined_pixels(
        self, results: list[tuple[int, int, Vector, Expr]]
    ) -> Iterator[tuple[int, int, Vector, Expr]]:
        """Neighbouring pixels as one wide vector, where they lie side by side in memory."""
        while results:
            pixel, lane, vector, _ = results[0]
            most = min(self.together, len(results))
            count = next(
                n for n in range(most, 0, -1) if n == 1 or n * vector.lanes in self.mk.lanes
            )
            values = [value for *_, value in results[:count]]
            lanes = count * vector.lanes
            if count > 1:
                vector = Vector(vector.start, lanes, lanes)
                values = [pick(values, range(lanes))]
            yield pixel, lane, vector, values[0]
            results = results[count:]

    def _pixel(self, item: Expr, start: Index) -> tuple[Index, Index, Index]:
        y = self.conv.y
        if self.joined:  # the flat index is all that counts
            return 0, 0, start
        n, h = divmod_(item, y.h) if y.n > 1 else (0, item)
        return n, h, start

    def _start_sums(
        self, sums: list[list[list[Buffer]]], epilogue: Epilogue, channels: _Channels
    ) -> None:
        """The bias in the first split, zero in the others."""
        for part, tile in enumerate(sums):
            for row in tile:
                lane = 0
                for vector, acc in zip(channels.block.vectors, row, strict=True):
                    n = vector.lanes
                    value = splat(const(0), n) if part else epilogue.bias(channels.lane + lane, n)
                    store(acc, 0, self.mk.start(value, n), self.mk.rows * n)
                    lane += n

    def _accumulate(
        self, x: Buffer, weights: Buffer, channels: _Channels, first: Index,
        sums: list[list[list[Buffer]]],
    ) -> None:  # fmt: skip
        conv, width = self.conv, self.mk.k_step
        step_bytes = channels.block.channels * width
        per_load = self.mk.x_bytes // width
        turn = per_load * math.ceil(self.tile.splits / per_load)
        whole, rest = divmod(self.steps, turn)
        down, right = conv.dilations[0] * conv.x.row, conv.dilations[1] * conv.x.c
        with turns(self.kh) as kh, turns(1 if self.flat else self.kw) as kw:
            source = bind(first + kh * down + kw * right)
            tap = kh if self.flat else kh * self.kw + kw
            packed = bind(channels.weights + tap * (self.steps * step_bytes))

            def steps(start: Index, count: int) -> None:
                """In turn to the splits."""
                for at in range(0, count, per_load):
                    pixels = self._pixels(x, source + (start + at) * width)
                    for i in range(at, min(at + per_load, count)):
                        self._step(
                            pixels, i - at, weights, packed + (start + i) * step_bytes, channels,
                            sums[i % self.tile.splits],
                        )  # fmt: skip

            if whole:
                with turns(whole) as i:
                    steps(i * turn, turn)
            steps(whole * turn, rest)

    def _pixels(self, x: Buffer, source: Index) -> list[Expr]:
        """The next bytes of each pixel of the tile."""
        stride = self.conv.strides[1] * self.conv.x.c
        count = self.mk.x_bytes
        return [load(x, source + pixel * stride, count) for pixel in range(self.tile.pixels)]

    def _step(
        self, pixels: list[Expr], step: int, weights: Buffer, packed: Index, channels: _Channels,
        sums: list[list[Buffer]],
    ) -> None:  # fmt: skip
        """`k_step` more products for every lane of every accumulator."""
        mk = self.mk
        for row, accumulators in enumerate(sums):
            group = pixels[row * mk.rows : (row + 1) * mk.rows]
            lane = 0
            for vector, acc in zip(channels.block.vectors, accumulators, strict=True):
                a = mk.operand(group, step, vector.lanes)
                w = load(weights, packed + lane * mk.k_step, vector.lanes * mk.k_step)
                total = mk.dot(load(acc, 0, mk.rows * vector.lanes), a, w, vector.lanes)
                store(acc, 0, total, mk.rows * vector.lanes)
                lane += vector.lanes

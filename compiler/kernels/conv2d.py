"""Convolution as an implicit matrix product, without boundary conditions: the input has a halo.

One work item is a row of output pixels, or a tile of them where rows join. Output channels are
vectors; a register tile of pixels × vectors accumulates over k, the flattened (kh, kw, ic). For one
kh the taps (kw, ic) lie side by side in memory, so k runs over KW·IC bytes in steps of four
whatever the channel count; the last step may read bytes of the next pixel, whose weights are zero.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.kernels.border import assert_covered, fill_border
from edgekiln.compiler.kernels.channels import Block, blocks, pack_channels, pack_weights, vectors
from edgekiln.compiler.kernels.epilogue import Epilogue, Residual
from edgekiln.compiler.kernels.spec import F32, Kernel, Nhwc
from edgekiln.compiler.kernels.tile import Tile, default_tile
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
    reinterpret,
    store,
    turns,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, MicroKernel, splat

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
            if isinstance(self.y, Nhwc) and any(vars(self.y.halo).values()):
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
        self.conv, self.mk = conv, mk
        oc, self.ic, self.kh, self.kw = conv.weight.shape
        self.oc = oc // conv.groups
        # Taps that lie side by side in memory: a row of the kernel, or one pixel's channels.
        self.flat = conv.groups == 1 and (conv.dilations[1] == 1 or self.kw == 1)
        run = self.ic * self.kw if self.flat else self.ic
        self.steps = math.ceil(run / mk.k_step)
        self.taps = self.kh if self.flat else self.kh * self.kw
        y = conv.y
        # A 1×1 convolution over dense images sees one long row: tiles need not end with its own.
        self.joined = self._is_pointwise_and_dense()
        self.pixels = y.n * y.h * y.w if self.joined else y.w
        count = len(vectors(self.oc, mk.lanes))
        self.tile = conv.tile or default_tile(
            mk, pixels=self.pixels, vectors=count, k_steps=self.taps * self.steps
        )
        self.work = math.ceil(self.pixels / self.tile.pixels) if self.joined else y.n * y.h
        self.layout = blocks(self.oc, mk.lanes, self.tile.vectors)

    def _is_pointwise_and_dense(self) -> bool:
        conv = self.conv
        tensors = [conv.x, conv.y, *([conv.residual.tensor] if conv.residual else [])]
        dense = all(isinstance(t, F32) or not any(vars(t.halo).values()) for t in tensors)
        return dense and (self.kh, self.kw) == (1, 1) == conv.strides and conv.pads == (0, 0)

    @cached_property
    def group_lanes(self) -> int:
        return sum(block.count * block.channels for block in self.layout)

    def packed_weights(self) -> "NDArray[np.int8]":
        """[group][block][tap][step][vector][lane][4]."""
        conv, width = self.conv, self.mk.k_step
        runs = conv.weight.transpose(0, 2, 3, 1).reshape(conv.weight.shape[0], self.taps, -1)
        steps = np.zeros((len(runs), self.taps, self.steps * width), np.int8)
        steps[:, :, : runs.shape[2]] = runs
        steps = steps.reshape(conv.groups, self.oc, self.taps * self.steps, width)
        return np.concatenate([pack_weights(group, self.layout) for group in steps])

    def per_lane(self, values: "NDArray[np.generic]") -> "NDArray[np.generic]":
        groups = values.reshape(self.conv.groups, self.oc)
        return np.concatenate([pack_channels(group, self.layout) for group in groups])

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
        conv = self.conv
        chosen = channels.block.vectors
        sums = [
            [[register("int32", v.lanes) for v in chosen] for _ in range(self.tile.pixels)]
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
        for pixel in range(self.tile.pixels):
            lane = 0
            for v, vector in enumerate(chosen):
                acc = load(sums[0][pixel][v], 0, vector.lanes)
                for part in sums[1:]:
                    acc = acc + load(part[pixel][v], 0, vector.lanes)
                place = pixel * conv.y.c + vector.start - chosen[0].start
                epilogue.emit(
                    acc, channels.lane + lane, y + place, None if other is None else other + place,
                    vector.lanes, vector.valid,
                )  # fmt: skip
                lane += vector.lanes

    def _pixel(self, item: Expr, start: Index) -> tuple[Index, Index, Index]:
        y = self.conv.y
        if self.joined:  # the flat index is all that counts
            return 0, 0, start
        n, h = divmod_(item, y.h) if y.n > 1 else (0, item)
        return n, h, start

    def _start_sums(
        self, sums: list[list[list[Buffer]]], epilogue: Epilogue, channels: _Channels
    ) -> None:
        for part, tile in enumerate(sums):
            for row in tile:
                lane = 0
                for vector, acc in zip(channels.block.vectors, row, strict=True):
                    value = (
                        splat(const(0), vector.lanes)
                        if part
                        else epilogue.bias(channels.lane + lane, vector.lanes)
                    )
                    store(acc, 0, value, vector.lanes)
                    lane += vector.lanes

    def _accumulate(
        self, x: Buffer, weights: Buffer, channels: _Channels, first: Index,
        sums: list[list[list[Buffer]]],
    ) -> None:  # fmt: skip
        conv, width = self.conv, self.mk.k_step
        step_bytes = channels.block.channels * width
        splits = self.tile.splits
        whole = self.steps // splits
        down, right = conv.dilations[0] * conv.x.row, conv.dilations[1] * conv.x.c
        with turns(self.kh) as kh, turns(1 if self.flat else self.kw) as kw:
            source = bind(first + kh * down + kw * right)
            tap = kh if self.flat else kh * self.kw + kw
            packed = bind(channels.weights + tap * (self.steps * step_bytes))
            with turns(whole) as i:
                for part in range(splits):
                    step = i * splits + part
                    self._step(
                        x, weights, channels, source + step * width, packed + step * step_bytes,
                        sums[part],
                    )  # fmt: skip
            for part in range(self.steps % splits):
                step = whole * splits + part
                self._step(
                    x, weights, channels, source + step * width, packed + step * step_bytes,
                    sums[part],
                )  # fmt: skip

    def _step(
        self, x: Buffer, weights: Buffer, channels: _Channels, source: Index, packed: Index,
        sums: list[list[Buffer]],
    ) -> None:  # fmt: skip
        """Four k of every accumulator: one broadcast a pixel, one load a vector of weights."""
        mk, width = self.mk, self.mk.k_step
        pixel_stride = self.conv.strides[1] * self.conv.x.c
        for pixel, row in enumerate(sums):
            word = reinterpret(load(x, source + pixel * pixel_stride, width), "int32")
            lane = 0
            for vector, acc in zip(channels.block.vectors, row, strict=True):
                count = vector.lanes * width
                a = reinterpret(splat(word, vector.lanes), mk.activation, count)
                w = load(weights, packed + lane * width, count)
                store(acc, 0, mk.dot(load(acc, 0, vector.lanes), a, w, vector.lanes), vector.lanes)
                lane += vector.lanes

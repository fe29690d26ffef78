"""Convolution over all channels as an implicit matrix product: a thread has a tile of sums.

The result is a matrix of pixels × channels. A thread sums `pixels` × `channels` of it, in
registers, over k = (kh, kw, ic) in steps of words of four bytes. Neighbouring threads have
neighbouring channels: they read the same pixels and weights that lie side by side, and write side
by side. Nothing is shared but by the caches: many of these chips have no other local memory.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.epilogue.base import Epilogue
from edgekiln.compiler.kernels.gpu.grid import fill_border
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import divmod_, let, register, repeat, store, unravel, when
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    const,
    load,
    minimum,
    reinterpret,
)
from edgekiln.targets.isa.gpu import WORD, GpuMicroKernel, call

_MOST_PIXELS, _MOST_CHANNELS = 4, 4  # of a tile: with more, sums leave the registers
_WORDS = 4  # that are read at once, where a tap has as many
_MOST_WASTE = 1.25  # of products with zeros, for reading so many at once


@dataclass(frozen=True)
class ConvolutionTiles:
    """How a convolution is cut into threads, and its weights into words."""

    conv: ConvolutionKernel
    mk: GpuMicroKernel

    @property
    def channels(self) -> int:
        """Output channels of a thread; they divide those of a group."""
        return math.gcd(len(self.conv.weight) // self.conv.groups, _MOST_CHANNELS)

    @property
    def pixels(self) -> int:
        """Pixels of a thread: as many as leave enough threads to keep the chip busy."""
        pixels = _MOST_PIXELS
        while pixels > 1 and -(-self.all_pixels // pixels) * self.columns < self.mk.busy:
            pixels //= 2
        return pixels

    @property
    def all_pixels(self) -> int:
        """Pixels of the result."""
        return self.conv.y.n * self.conv.y.h * self.conv.y.w

    @property
    def columns(self) -> int:
        """Tiles side by side: of all channels."""
        return len(self.conv.weight) // self.channels

    @property
    def threads(self) -> int:
        """How many there are."""
        return -(-self.all_pixels // self.pixels) * self.columns

    @property
    def flat(self) -> bool:
        """Whether a row of the filter is one tap, for its pixels lie side by side."""
        conv, (_, ic, _, kw) = self.conv, self.conv.weight.shape
        return conv.x.pixel == ic and (conv.dilations[1] == 1 or kw == 1)

    @property
    def run(self) -> int:
        """Bytes of a tap."""
        ic, kw = int(self.conv.weight.shape[1]), int(self.conv.weight.shape[3])
        return ic * kw if self.flat else ic

    @property
    def words(self) -> int:
        """Words of a step."""
        many = WORD * _WORDS
        return _WORDS if -(-self.run // many) * many <= _MOST_WASTE * self.run else 1

    @property
    def steps(self) -> int:
        """Steps of a tap; the last one may read on, where its weights are 0."""
        return -(-self.run // (WORD * self.words))

    @property
    def aligned(self) -> bool:
        """Whether every tap begins with a whole word of memory."""
        x, ic = self.conv.x, self.conv.weight.shape[1]
        return not x.pitch and x.c % WORD == 0 and (self.conv.groups == 1 or ic % WORD == 0)

    def packed_weights(self) -> NDArray[np.int32]:
        """Weights as words: [tap][step][tile][channel][word]."""
        oc, ic, kh, kw = self.conv.weight.shape
        taps = (kh, kw * ic) if self.flat else (kh * kw, ic)
        runs = self.conv.weight.transpose(0, 2, 3, 1).reshape(oc, *taps)
        padded = np.zeros((oc, taps[0], self.steps * self.words * WORD), np.int8)
        padded[..., : taps[1]] = runs
        shape = (self.columns, self.channels, taps[0], self.steps, self.words)
        return np.ascontiguousarray(
            padded.view("<i4").reshape(shape).transpose(2, 3, 0, 1, 4)
        ).astype(np.int32)


@shared
def convolution_on_threads(kernel: ConvolutionKernel, mk: MicroKernel) -> Kernel:
    """Build the kernel."""
    kernel.check()
    assert isinstance(mk, GpuMicroKernel)
    tiles = ConvolutionTiles(kernel, mk)
    oc = len(kernel.weight)
    with KernelBuilder() as k:
        words = tiles.aligned
        size = kernel.x.elements // WORD if words else kernel.x.elements
        x = k.tensor(size, "int32" if words else kernel.x.dtype)
        epilogue = kernel.finish.epilogue(mk, kernel)
        epilogue.declare_inputs(k)
        weights = k.constant(tiles.packed_weights())
        epilogue.declare_constants(k, lambda each: np.broadcast_to(each, (oc,)))
        epilogue.declare_output(k)
        thread = k.threads(tiles.threads)
        _emit(tiles, (x, weights), epilogue, thread)
        fill_border(kernel.y, epilogue.zero, epilogue.out, thread, tiles.threads)
    return k.finish()


def _emit(
    tiles: ConvolutionTiles, buffers: tuple[Buffer, Buffer], epilogue: Epilogue, thread: Expr
) -> None:
    conv, (x, weights) = tiles.conv, buffers
    row_of_tiles, column = divmod_(thread, tiles.columns)
    row_of_tiles, column = let(row_of_tiles), let(column)
    group, _ = divmod_(column, tiles.columns // conv.groups)
    first = let(row_of_tiles * tiles.pixels)
    pixels = [
        unravel(
            (conv.y.n, conv.y.h, conv.y.w), let(minimum(first + i, const(tiles.all_pixels - 1)))
        )
        for i in range(tiles.pixels)
    ]
    channel = let(column * tiles.channels)
    sums = register("int32", tiles.pixels * tiles.channels)
    for i in range(tiles.pixels):
        store(sums, i * tiles.channels, epilogue.bias(channel, tiles.channels), tiles.channels)
    _multiply(tiles, (x, weights, sums), pixels, group, column)
    other = conv.residual.tensor if conv.residual else None
    for i, (n, h, w) in enumerate(pixels):

        def finish(i: int = i, n: Expr = n, h: Expr = h, w: Expr = w) -> None:
            epilogue.emit(
                load(sums, i * tiles.channels, tiles.channels), channel,
                let(conv.y.index(n, h, w, channel)),
                let(other.index(n, h, w, channel)) if other else None,
                tiles.channels, tiles.channels,
            )  # fmt: skip

        # The last tile may reach beyond the last pixel.
        if tiles.all_pixels % tiles.pixels and i:
            with when(first + i < tiles.all_pixels):
                finish()
        else:
            finish()


def _multiply(
    tiles: ConvolutionTiles, buffers: tuple[Buffer, Buffer, Buffer],
    pixels: list[tuple[Expr, ...]], group: Expr, column: Expr,
) -> None:  # fmt: skip
    """Add the products of a tile to its sums."""
    conv, (x, weights, sums) = tiles.conv, buffers
    _, ic, kh, kw = conv.weight.shape
    (step_h, step_w), (far_h, far_w), (top, left) = conv.strides, conv.dilations, conv.pads
    starts = [
        let(conv.x.index(n, h * step_h - top, w * step_w - left, group * ic)) for n, h, w in pixels
    ]
    across = 1 if tiles.flat else kw
    with repeat(kh) as row, repeat(across) as tap, repeat(tiles.steps) as step:
        number = (row * across + tap) * tiles.steps + step
        factors = _read(
            weights, let((number * tiles.columns + column) * (tiles.channels * tiles.words)),
            tiles.channels, tiles.words,
        )  # fmt: skip
        here = let(
            row * (far_h * conv.x.row) + tap * (far_w * conv.x.pixel)
            + step * (WORD * tiles.words) + const(0)
        )  # fmt: skip
        for i, start in enumerate(starts):
            codes = _pixel_words(tiles, x, start + here)
            for j in range(tiles.channels):
                total = sums[i * tiles.channels + j]
                for word, code in enumerate(codes):
                    total = call("ek_dot", "int32", 1, total, code, factors[j][word])
                store(sums, i * tiles.channels + j, total)


def _read(buffer: Buffer, at: Index, rows: int, words: int) -> list[list[Expr]]:
    """`rows` × `words` that lie side by side, a row at a time."""
    found = []
    for row in range(rows):
        kept = register("int32", words)
        store(kept, 0, load(buffer, at + row * words, words), words)
        found.append([let(kept[word]) for word in range(words)])
    return found


def _pixel_words(tiles: ConvolutionTiles, x: Buffer, at: Expr) -> list[Expr]:
    """The words of a step that begin at a byte of the image."""
    if tiles.aligned:
        return _read(x, let(divmod_(at, WORD)[0]), 1, tiles.words)[0]
    return [
        let(reinterpret(load(x, at + WORD * word, WORD), "int32")) for word in range(tiles.words)
    ]

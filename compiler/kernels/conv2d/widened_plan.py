"""The numbers of a convolution whose activations are widened to 16 bits before they are multiplied.

Where one instruction multiplies two pairs of 16 bits, bytes must be widened first. Here a strip of
the image is, once, into a scratch memory, from where all output channels read it; weights were
widened when the program was compiled. What is left for the inner loop is loads and products.

    a strip of two tiles of 2 pixels, 3×3, stride 1: as many rows as the filter has

    image row 0   ├─┬─┬─┬─┬─┬─┤        a row of the scratch: the elements of these pixels side by
    image row 1   ├─┬─┬─┬─┬─┬─┤        side, and room for what the last step reads beyond them
    image row 2   ├─┬─┬─┬─┬─┬─┤
                  └tile─┘
                      └tile─┘
"""

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.conv2d import lowest_pairs
from edgekiln.compiler.kernels.conv2d.plan import DirectPlan
from edgekiln.compiler.kernels.conv2d.spec import ConvolutionSpec
from edgekiln.compiler.kernels.tile import Tile, ranked
from edgekiln.compiler.kernels.tir import let, repeat
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Assembly, Expr, Index, const, minimum
from edgekiln.targets.isa.halfwords import TileLoop, Widening

ITEM_BYTES = 2  # of an element that was widened


def applies(conv: ConvolutionSpec, mk: MicroKernel) -> bool:
    """Whether there is such a form."""
    if mk.widened is None or mk.widening is None or conv.compact or conv.weight.dtype != np.int8:
        return False
    plain = conv.groups == 1 and (conv.dilations[1] == 1 or conv.weight.shape[3] == 1)
    if _in_bytes(conv, mk) and not mk.widening.split_order:
        return False  # weights of a single use are not worth 16 bits
    if not mk.widening.lowest_pairs and lowest_pairs.may_be_in(conv.weight):
        return False
    return plain and fitting(conv, _multiplier(conv, mk), mk.widening) > 0


def _in_bytes(conv: ConvolutionSpec, mk: MicroKernel) -> bool:
    """Whether weights stay bytes, for each serves a single pixel."""
    assert mk.widening
    return mk.widening.lone_bytes and conv.y.n * conv.y.h * conv.y.w == 1


def _multiplier(conv: ConvolutionSpec, mk: MicroKernel) -> MicroKernel:
    """What multiplies: pairs of 16 bits, or bytes of weights by what is widened."""
    assert mk.widened
    return replace(mk, operand_dots=0.0) if _in_bytes(conv, mk) else mk.widened


class WidenedPlan(DirectPlan):
    """The numbers of one convolution on widened activations.

    Weights that serve a single pixel may stay bytes: where to read twice as many would cost as much
    as to widen them.

    Attributes:
        in_bytes: whether they do.
        strip: output pixels whose input is widened at once.
        pitch: elements of a row of the scratch.
    """

    repeats_blocks = True

    def __init__(self, conv: ConvolutionSpec, mk: MicroKernel) -> None:
        assert mk.widening
        self.widening, self.in_bytes = mk.widening, _in_bytes(conv, mk)
        super().__init__(conv, _multiplier(conv, mk))
        most = fitting(conv, self.mk, self.widening)
        # Strips of equal length, whole tiles if there are several.
        count = math.ceil(self.pixels / most)
        size = math.ceil(self.pixels / count / self.tile.pixels) * self.tile.pixels
        self.strip = min(size, most, self.pixels)
        self.pitch = self._pitch()
        # Items are strips or rows, also where one would be all there is.
        self.work = math.ceil(self.pixels / self.strip) if self.joined else conv.y.n * conv.y.h
        self.by_channels = False

    def _pitch(self) -> int:
        """Elements of a row of the scratch for a strip."""
        conv, size = self.conv, self.widening.elements
        pixels = (self.strip - 1) * conv.strides[1] + self.kw
        elements: int = pixels * conv.x.c + _over(conv, self.mk)
        return math.ceil(elements / size) * size

    @cached_property
    def ranked(self) -> list[tuple[float, Tile]]:
        conv = self.conv
        rows = 1 if self.joined else conv.y.n * conv.y.h
        most = min(self.pixels, fitting(conv, self.mk, self.widening))
        steps = self.taps * self.steps
        found = ranked(self.mk, pixels=most, channels=self.oc, k_steps=steps)
        written = [(cost, t) for cost, t in found if self.product_loop(t.pixels, t.vectors, 0)]
        # A compiler's loop is better than none.
        found = _with_narrow_tiles(written, most) or found
        # What it takes to widen the elements of a pixel, for all of its channels.
        widening = conv.weight[0].size / self.kw * min(self.kw, conv.strides[1])
        more = self.pixels * widening * self.widening.cycles
        share = self.pixels / most
        return [
            (rows * (cycles * share + more), replace(tile, algorithm="widened"))
            for cycles, tile in found
        ]

    @property
    def alignment(self) -> int:
        """Bytes to which the scratch is aligned: those that are stored at once, if TVM would take
        more; -1: as it does.
        """
        stored = self.widening.elements * ITEM_BYTES
        return stored if stored < 16 else -1

    @property
    def down(self) -> int:
        return self.pitch

    @property
    def _split(self) -> bool:
        """Whether a pixel's elements lie in the order of `Widening.split`: where that is whole
        groups of them, it is as good as their own.
        """
        whole = self.in_bytes or self.conv.x.c % self.widening.elements == 0
        return bool(self.widening.split_order) and whole

    def widen(self, codes: Expr) -> Expr:
        """Return codes as they lie in the scratch."""
        return self.widening.split(codes) if self._split else self.widening.widen(codes)

    def tap_weights(self) -> NDArray[np.generic]:
        runs = super().tap_weights()
        if self.in_bytes or not self._split:
            return runs  # as bytes they are split when they are multiplied
        order = self.widening.split_order
        return runs.reshape(-1, len(order))[:, order].reshape(runs.shape)

    def packed_weights(self) -> NDArray[np.generic]:
        packed = super().packed_weights()
        return packed if self.in_bytes else packed.astype(np.int16)

    def product_loop(self, pixels: int, channels: int, pitch: int) -> Assembly | None:
        """The chip's own loop over k of a tile, where it has one.

        Args:
            pitch: that of the scratch.
        """
        conv = self.conv
        return self.widening.loop(
            TileLoop(
                pixels=pixels,
                channels=channels,
                rows=self.kh,
                steps=self.steps,
                pixel_bytes=conv.strides[1] * conv.x.c * ITEM_BYTES,
                row_bytes=pitch * ITEM_BYTES,
                weight_bytes=1 if self.in_bytes else ITEM_BYTES,
                split=self._split,
            )
        )

    @property
    def unrolled(self) -> int:
        """Steps of k in an iteration of its loop: those that leave the fewest over."""
        most = max(1, self.widening.unrolled // (self.tile.pixels * self.tile.vectors))
        sizes = range(min(most, self.steps), 0, -1)
        return min(sizes, key=lambda size: self.steps // size + self.steps % size)

    def strips(self, item: Expr) -> Iterator[Index]:
        """The first pixel of each strip of an item. A last one overlaps the one before it."""
        if self.joined:
            yield let(minimum(item * self.strip, const(self.pixels - self.strip)))
            return
        whole = self.pixels // self.strip
        with repeat(whole) as i:
            yield let(i * self.strip)
        if self.pixels % self.strip:
            yield self.pixels - self.strip

    def tiles_of_strip(self) -> Iterator[tuple[Self, Index]]:
        """The plan of each tile, and its first pixel, counted from that of its strip.

        A last one has the pixels that are left, or overlaps the one before it where the chip has no
        loop for that.
        """
        size = self.tile.pixels
        with repeat(self.strip // size) as i:
            yield self, let(i * size)
        if left := self.strip % size:
            last = left if self.product_loop(left, self.tile.vectors, self.pitch) else size
            narrow = copy(self)
            narrow.tile = replace(self.tile, pixels=last)
            yield narrow, self.strip - last


def _with_narrow_tiles(found: list[tuple[float, Tile]], pixels: int) -> list[tuple[float, Tile]]:
    """The tiles in order of what they take where the last one is no wider than what is left."""
    single = {tile: cost / math.ceil(pixels / tile.pixels) for cost, tile in found}

    def cycles(tile: Tile) -> float:
        whole, left = divmod(pixels, tile.pixels)
        narrow = replace(tile, pixels=left)
        return whole * single[tile] + (single.get(narrow, single[tile]) if left else 0.0)

    return sorted(((cycles(tile), tile) for tile in single), key=lambda choice: choice[0])


def fitting(conv: ConvolutionSpec, mk: MicroKernel, widening: Widening) -> int:
    """The longest strip, in output pixels, whose input stays inside the scratch."""
    kh, kw = conv.weight.shape[2:]
    size = widening.elements
    elements = widening.scratch_bytes // (kh * ITEM_BYTES) // size * size - _over(conv, mk)
    return int(max(0, (elements // conv.x.c - kw) // conv.strides[1] + 1))


def _over(conv: ConvolutionSpec, mk: MicroKernel) -> int:
    """Elements that the last step of a pixel reads beyond its taps."""
    run: int = conv.weight.shape[3] * conv.x.c
    return -run % mk.k_step

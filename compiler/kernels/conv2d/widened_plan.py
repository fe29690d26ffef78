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
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.conv2d.plan import DirectPlan
from edgekiln.compiler.kernels.conv2d.spec import ConvolutionSpec
from edgekiln.compiler.kernels.tile import Tile, ranked
from edgekiln.compiler.kernels.tir import let, repeat
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, Index, const, minimum
from edgekiln.targets.isa.halfwords import Widening

ITEM_BYTES = 2  # of an element that was widened


def applies(conv: ConvolutionSpec, mk: MicroKernel) -> bool:
    """Whether there is such a form, and weights may be widened: each serves several pixels."""
    if mk.widened is None or mk.widening is None or conv.compact or conv.weight.dtype != np.int8:
        return False
    plain = conv.groups == 1 and (conv.dilations[1] == 1 or conv.weight.shape[3] == 1)
    several = conv.y.n * conv.y.h * conv.y.w > 1
    return plain and several and fitting(conv, mk.widened, mk.widening) > 0


class WidenedPlan(DirectPlan):
    """The numbers of one convolution on widened activations.

    Attributes:
        strip: output pixels whose input is widened at once.
        pitch: elements of a row of the scratch.
    """

    def __init__(self, conv: ConvolutionSpec, mk: MicroKernel) -> None:
        assert mk.widened
        assert mk.widening
        self.widening = mk.widening
        super().__init__(conv, mk.widened)
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
        # What it takes to widen the elements of a pixel, for all of its channels.
        widening = conv.weight[0].size / self.kw * min(self.kw, conv.strides[1])
        more = self.pixels * widening * self.widening.cycles
        share = self.pixels / most
        return [
            (rows * (cycles * share + more), replace(tile, algorithm="widened"))
            for cycles, tile in found
        ]

    @property
    def down(self) -> int:
        return self.pitch

    def packed_weights(self) -> NDArray[np.generic]:
        return super().packed_weights().astype(np.int16)

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

    def tiles_of_strip(self) -> Iterator[Index]:
        """The first pixel of each tile, counted from that of its strip."""
        size = self.tile.pixels
        with repeat(self.strip // size) as i:
            yield let(i * size)
        if self.strip % size:
            yield self.strip - size


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

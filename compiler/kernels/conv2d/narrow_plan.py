"""The plans of convolutions whose weights lie in memory in four bits each."""

from functools import cached_property

import numpy as np

from edgekiln.compiler.kernels.channels import blocks, vectors
from edgekiln.compiler.kernels.conv2d import widened_plan
from edgekiln.compiler.kernels.conv2d.narrow import decodes_once
from edgekiln.compiler.kernels.conv2d.plan import DirectPlan
from edgekiln.compiler.kernels.conv2d.spec import ConvolutionSpec
from edgekiln.compiler.kernels.conv2d.widened_plan import ITEM_BYTES, WidenedPlan
from edgekiln.compiler.kernels.tile import Algorithm, Tile
from edgekiln.targets.isa.base import MicroKernel

# Of a decoded block of channels, which lies on the stack: of a microcontroller, whose sums are no
# vectors, and of others.
_MOST_SCALAR_BYTES, _MOST_BLOCK_BYTES = 16 << 10, 128 << 10
_WORD_CYCLES = 2.5  # for a code of a word: masked, its sign restored, stored
_VECTOR_OPS = 6.0  # for two vectors of codes


class NarrowPlan(DirectPlan):
    """The numbers of one convolution by its definition: each block is decoded once a call."""

    @cached_property
    def ranked(self) -> list[tuple[float, Tile]]:
        # In the other order of loops a block would be decoded for each item.
        found = [(cost, tile) for cost, tile in super().ranked if not tile.items_first]
        return _with_decoding(self, found, times=1, item_bytes=self.conv.weight.itemsize)


class NarrowWidenedPlan(WidenedPlan):
    """The numbers of one on widened activations: blocks are decoded for each strip, or all once."""

    @cached_property
    def ranked(self) -> list[tuple[float, Tile]]:
        most = min(self.pixels, widened_plan.fitting(self.conv, self.mk, self.widening))
        rows = 1 if self.joined else self.conv.y.n * self.conv.y.h
        strips = 1 if decodes_once(self) else rows * -(-self.pixels // most)
        size = 1 if self.in_bytes else ITEM_BYTES
        return _with_decoding(self, super().ranked, times=strips, item_bytes=size)


def has_small_blocks(conv: ConvolutionSpec, mk: MicroKernel) -> bool:
    """Whether a block of the fewest channels, widened and filled up, is small enough."""
    item_bytes = conv.weight.itemsize if conv.weight.dtype == np.float32 else ITEM_BYTES
    least: int = 2 * conv.weight[0].size * item_bytes * mk.products.lanes[-1]
    return least <= _most_bytes(mk.products)


def plans(conv: ConvolutionSpec, mk: MicroKernel, algorithm: Algorithm | None) -> list[DirectPlan]:
    """The plan of each algorithm there is, or of that one alone.

    Weights of four bits always allow to add products of bytes in pairs, where the chip does that;
    those with factors do not.
    """
    found: list[DirectPlan] = []
    if algorithm in (None, "direct"):
        pairs = None if conv.block else mk.paired
        found.append(NarrowPlan(conv, pairs or mk.products))
    widened = not (mk.paired or conv.block) and widened_plan.applies(conv, mk)
    if algorithm in (None, "widened") and widened:
        found.append(NarrowWidenedPlan(conv, mk))
    return found


def _with_decoding(
    plan: DirectPlan, ranked: list[tuple[float, Tile]], times: int, item_bytes: int
) -> list[tuple[float, Tile]]:
    """The tiles whose blocks of channels are small enough to be decoded at once, and what they
    take with that.

    Args:
        times: how often all weights are decoded.
        item_bytes: of a decoded weight.
    """
    channel = plan.lane_weights
    cycles = times * channel * plan.oc * plan.conv.groups * _code_cycles(plan.mk)

    def block_bytes(tile: Tile) -> int:
        layout = blocks(vectors(plan.oc, plan.mk, tile.lanes), tile.vectors)
        return item_bytes * channel * max(block.channels for block in layout)

    most = _most_bytes(plan.mk)
    return [(cost + cycles, tile) for cost, tile in ranked if block_bytes(tile) <= most]


def _most_bytes(mk: MicroKernel) -> int:
    return _MOST_SCALAR_BYTES if mk.lanes == (1,) else _MOST_BLOCK_BYTES


def _code_cycles(mk: MicroKernel) -> float:
    """What it takes to decode a weight, roughly."""
    return _VECTOR_OPS / (2 * 4 * mk.register) if mk.byte_lanes else _WORD_CYCLES

"""The numbers of a convolution: its register tile, its blocks of channels, its packed constants.

The output is a matrix of pixels × channels, and is cut like this:

                     block 0           block 1       a block: some vectors of channels,
                  ┌─v0──┬─v1──┐     ┌─v2──┬─v3──┐    whose weights lie together
    row of    p0  │     │     │     │     │     │
    pixels    p1  │   tile    │     │   tile    │    a tile: pixels × vectors; its sums
              p2  │     │     │     │     │     │    are in registers over all of k
                  ├─────┼─────┤     ├─────┼─────┤
              p3  │   tile    │     │   tile    │    the last tile of a row begins earlier
              p4  │ (p2…p4)   │     │           │    and computes some pixels twice

k is (kh, kw, ic) flattened. Taps lie side by side in the image for one kh, or for one (kh, kw):

    x:  ···│p: ic ic ic│p+1: ic ic ic│p+2: ic ic ic│···    of a 3-wide filter one tap of 9 elements
            └─k_step─┘└─k_step─┘ …       └─ the last step reads on; its weights are 0
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.channels import (
    Block,
    Vector,
    blocks,
    pack_channels,
    pack_weights,
    vectors,
)
from edgekiln.compiler.kernels.conv2d.spec import ConvolutionSpec
from edgekiln.compiler.kernels.tile import Tile, ranked
from edgekiln.compiler.kernels.tir import divmod_, let, loop, repeat
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, Index, const, maximum, minimum


@dataclass(frozen=True)
class Channels:
    """The block of output channels that is being emitted."""

    block: Block
    number: Index  # of the blocks of all groups
    x_offset: Index  # of the group's first input channel
    weights: Index  # of the block's packed weights
    lane: Index  # of its first lane in bias and mult
    y_channel: Index  # its first output channel
    step_bytes: int  # from a step of its weights to the next


def is_flat(groups: int, kw: int, dilation: int) -> bool:
    """Whether a row of a filter is one tap, for the pixels that it reads lie side by side."""
    return groups == 1 and (dilation == 1 or kw == 1)


class Packing:
    """How a convolution's constants lie in memory: channels in blocks, k in taps of equal steps.

    Attributes:
        steps: of `k_step` elements in a tap; each kind of plan says how many.
        layout: the blocks of channels of a group; each kind of plan says which.
        flat: whether a row of the filter is one tap, for its pixels lie side by side.
        run: elements of a tap.
    """

    steps: int
    layout: tuple[Block, ...]
    taps: int
    repeats_blocks: ClassVar[bool] = False  # each block of channels begins once for every strip

    def __init__(self, conv: ConvolutionSpec, mk: MicroKernel) -> None:
        self.conv, self.mk = conv, mk
        # Of a group, where there are several.
        oc, self.ic, self.kh, self.kw = conv.weight.shape
        self.oc = oc // conv.groups
        # Taps that lie side by side in memory: a row of the kernel, or one pixel's channels.
        self.flat = self._is_flat()
        self.run = self.ic * self.kw if self.flat else self.ic
        self.taps = self.kh if self.flat else self.kh * self.kw

    def _is_flat(self) -> bool:
        return is_flat(self.conv.groups, self.kw, self.conv.dilations[1])

    @property
    def stored_steps(self) -> int:
        """Steps from a tap's weights to the next tap's."""
        return self.steps

    @property
    def stored_taps(self) -> int:
        """Taps whose weights lie in memory."""
        return self.taps

    @property
    def lane_weights(self) -> int:
        """Weights that lie in memory for each lane of a block."""
        return self.stored_taps * self.stored_steps * self.mk.k_step

    @property
    def most_channels(self) -> int:
        """Channels of the largest block."""
        return max(block.channels for block in self.layout)

    def stored_channels(self, number: int) -> int:
        """Channels that lie in memory side by side, of the number-th kind of block."""
        return self.layout[number].channels

    def is_pointwise_and_dense(self) -> bool:
        """Whether all pixels make one long row: tiles need not end with the image's own."""
        conv = self.conv
        tensors = [conv.x, conv.y, *([conv.residual.tensor] if conv.residual else [])]
        # A border between two rows would lie inside a tile.
        dense = not any(t.halo for t in tensors)
        return dense and (self.kh, self.kw) == (1, 1) == conv.strides and conv.pads == (0, 0)

    @cached_property
    def group_lanes(self) -> int:
        """Lanes that the constants of a group take."""
        return sum(block.count * block.channels for block in self.layout)

    def tap_weights(self) -> NDArray[np.generic]:
        """The weights as the image has its elements: (output channels, taps, elements of a tap)."""
        # A pixel's channels lie side by side.
        order = self.conv.weight.transpose(0, 2, 3, 1)
        runs: NDArray[np.generic] = order.reshape(len(order), self.taps, -1)
        return runs

    def packed_weights(self) -> NDArray[np.generic]:
        """The weights in the order [group][block][tap][step][vector][lane][k_step]."""
        conv, width = self.conv, self.mk.k_step
        runs = self.tap_weights()
        # The last step of a tap is filled with zeros.
        steps = np.zeros((len(runs), self.taps, self.steps * width), conv.weight.dtype)
        steps[:, :, : runs.shape[2]] = runs
        # Groups have the same shape, so one layout serves all.
        by_group = steps.reshape(conv.groups, self.oc, self.taps * self.steps, width)
        return np.concatenate([pack_weights(group, self.layout, self.mk) for group in by_group])

    def per_lane(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """One number a channel in the order of the vectors of every group."""
        groups = values.reshape(self.conv.groups, self.oc)
        return np.concatenate([pack_channels(group, self.layout) for group in groups])

    def channel_blocks(self, share: tuple[Expr, Expr] | None = None) -> Iterator[Channels]:
        """Emit what `yield` gives to the caller for every block of every group, inside loops where
        blocks are alike.

        Args:
            share: of the blocks of the only group, the first one and the one behind the last.
        """
        lane = done = 0
        count = sum(block.count for block in self.layout)
        with repeat(self.conv.groups) as g:
            for kind, block in enumerate(self.layout):
                with _some_blocks(block.count, done, share) as i:
                    # The lanes before this block: its place in the constants, and in the weights.
                    at = let(g * self.group_lanes + i * block.channels + lane)
                    yield Channels(
                        block=block,
                        number=g * count + i + done,
                        x_offset=g * self.ic,
                        weights=let(at * self.lane_weights),
                        lane=at,
                        y_channel=let(g * self.oc + i * block.channels + block.vectors[0].start),
                        step_bytes=self.stored_channels(kind) * self.mk.k_step,
                    )
                lane += block.count * block.channels
                done += block.count


class DirectPlan(Packing):
    """The numbers of one convolution on vectors, by its definition.

    Attributes:
        joined: all pixels make one row.
        work: items; tiles of the one row, or rows of the output, or blocks of channels.
        by_channels: items are blocks of channels.
        together: pixels whose results leave as one vector.
    """

    def __init__(self, conv: ConvolutionSpec, mk: MicroKernel) -> None:
        super().__init__(conv, mk)
        y = conv.y
        self.joined = self.is_pointwise_and_dense()
        # What tiles are cut from: all pixels, or a row of them.
        self.pixels = y.n * y.h * y.w if self.joined else y.w
        # Accumulators of several pixels serve only tiles that have a multiple of them.
        pixels = conv.tile.pixels if conv.tile else self.pixels // mk.rows * mk.rows
        self.mk = mk = mk if pixels and pixels % mk.rows == 0 else mk.single
        self.steps = math.ceil(self.run / mk.k_step)
        self.tile = conv.tile or self.ranked[0][1]
        columns = self._columns()
        self.work = math.ceil(self.pixels / self.tile.pixels) if self.joined else y.n * y.h
        self.layout = blocks(columns, self.tile.vectors)
        # All there is lies in one item: its blocks of channels become the items.
        count = sum(block.count for block in self.layout)
        self.by_channels = self.work == conv.groups == 1 < count and not y.halo
        if self.by_channels:
            self.work = count
        # They can where one vector is all of a pixel.
        alone = conv.groups == 1 and self.oc == columns[0].lanes == conv.y.pixel
        self.together = min(self.tile.pixels, mk.lanes[0] // self.oc) if alone else 1

    def _columns(self) -> tuple[Vector, ...]:
        """The vectors of output channels."""
        return vectors(self.oc, self.mk, self.tile.lanes)

    @cached_property
    def ranked(self) -> list[tuple[float, Tile]]:
        """Every register tile and its cycles, the cheapest first. Behind it comes the same tile in
        the other loop order, where there is another.
        """
        y = self.conv.y
        # How often a row of pixels is computed.
        rows = self.conv.groups * (1 if self.joined else y.n * y.h)
        found = [
            (rows * cycles, tile)
            for cycles, tile in ranked(
                self.mk, pixels=self.pixels, channels=self.oc, k_steps=self.taps * self.steps
            )
        ]
        cycles, best = found[0]
        # With one item, or one block, there is only one order.
        items = self.pixels > best.pixels if self.joined else y.n * y.h > 1
        if items and len(vectors(self.oc, self.mk, best.lanes)) > best.vectors:
            found.insert(1, (cycles, replace(best, items_first=True)))
        return found

    def per_lane(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """One number a channel in the order of the vectors, once for each pixel of `together`."""
        return np.concatenate([super().per_lane(values)] * self.together)

    @property
    def down(self) -> int:
        """Elements from one row of taps to the next."""
        return self.conv.dilations[0] * self.conv.x.row

    @property
    def unrolled(self) -> int:
        """Steps of k in an iteration of its loop, after which both the splits and the loads of
        pixels begin anew.
        """
        # Steps that one load of a pixel brings.
        per_load = self.mk.x_bytes // self.mk.k_step
        return per_load * math.ceil(self.tile.splits / per_load)

    def starts(self, item: Expr) -> Iterator[Index]:
        """The first pixel of each tile of an item. A last one overlaps the one before it."""
        size = self.tile.pixels
        if self.joined:
            # An item is a tile, and the last one begins earlier.
            yield let(minimum(item * size, const(self.pixels - size)))
            return
        whole = self.pixels // size
        with repeat(whole) as i:
            yield let(i * size)
        if self.pixels % size:
            yield self.pixels - size

    def pixel(self, item: Expr, start: Index) -> tuple[Index, Index, Index]:
        """Where a tile's first pixel is: n, h and w."""
        y = self.conv.y
        if self.joined:  # the flat index is all that counts
            return 0, 0, start
        n, h = divmod_(item, y.h) if y.n > 1 else (0, item)
        return n, h, start


def _some_blocks(
    count: int, before: int, share: tuple[Expr, Expr] | None
) -> AbstractContextManager[Index]:
    """`repeat(count)`, or the part of it that a share has when `before` other blocks precede."""
    if share is None:
        return repeat(count)
    # The share counts blocks of all kinds, this loop those of one.
    begin, end = share
    some: AbstractContextManager[Index] = loop(
        maximum(begin - before, const(0)), minimum(end - before, const(count))
    )
    return some

"""The numbers of a convolution of bytes in pairs: k cut into steps, block of channels by block.

constants    weights  [group][block][step][vector][lane][4]; blocks have as many steps as their
                      weights ask for, first the natural ones
             table    [group][block] of `HEADER`: where the block's weights and steps begin, how
                      many are natural, how many are picked; then [group][block] of the steps:
                      [natural: offset in the image] [picked: offset, places]
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.channels import Block, Vector, expand, pack_weights
from edgekiln.compiler.kernels.conv2d.pairing import BlockSteps, steps_of
from edgekiln.compiler.kernels.conv2d.plan import DirectPlan
from edgekiln.compiler.kernels.conv2d.spec import ConvolutionSpec
from edgekiln.targets.isa.base import MicroKernel

HEADER = 4  # numbers of a block
PICKED = 2  # numbers of a picked step


@dataclass(frozen=True)
class _PairedBlock:
    """A block of channels of one group, its weights (channels, k), and how k is cut for it."""

    chunk: tuple[Vector, ...]
    weights: NDArray[np.int8]
    steps: BlockSteps


class PairedPlan(DirectPlan):
    """The numbers of one convolution on what multiplies bytes in pairs."""

    def __init__(self, conv: ConvolutionSpec, mk: MicroKernel) -> None:
        assert mk.paired
        super().__init__(conv, mk.paired)

    @cached_property
    def _blocks(self) -> list[_PairedBlock]:
        """Every block of every group, in the order of the loops."""
        flat = self._runs().reshape(self.conv.groups, self.oc, -1)
        chunks = [chunk for block in self.layout for chunk in expand(block)]
        found = []
        for group in flat:
            for chunk in chunks:
                first, end = chunk[0].start, max(v.start + v.valid for v in chunk)
                weights = group[first:end]
                found.append(
                    _PairedBlock(_moved(chunk, first), weights, steps_of(weights, self.taps))
                )
        return found

    def _runs(self) -> NDArray[np.int8]:
        """(channels, k) with k as the image has it."""
        runs: NDArray[np.int8] = self.conv.weight.astype(np.int8).transpose(0, 2, 3, 1)
        return runs.reshape(len(runs), -1)

    def packed_weights(self) -> NDArray[np.generic]:
        return np.concatenate([self._packed(block) for block in self._blocks])

    def _packed(self, block: _PairedBlock) -> NDArray[np.generic]:
        elements = block.steps.elements
        chosen = np.where(elements >= 0, block.weights[:, elements.clip(0)], 0).astype(np.int8)
        if not elements.size:
            return np.zeros(0, np.int8)
        return pack_weights(chosen, (Block(1, block.chunk),), self.mk)

    def table(self) -> NDArray[np.int32]:
        """The second constant."""
        headers: list[list[int]] = []
        steps: list[NDArray[np.int32]] = []
        weights, at = 0, HEADER * len(self._blocks)
        for block in self._blocks:
            cut = block.steps
            natural, picked = len(cut.natural), len(cut.picked)
            headers.append([weights, at, natural, picked])
            # Four places of a byte each make one int32 of the table.
            masks = np.ascontiguousarray(cut.places).view("<i4").reshape(-1)
            steps += [
                self._offsets(cut.natural),
                np.stack([self._offsets(cut.picked), masks], axis=1).reshape(-1),
            ]
            lanes = sum(vector.lanes for vector in block.chunk)
            weights += (natural + picked) * lanes * self.mk.k_step
            at += natural + PICKED * picked
        return np.concatenate([np.array(headers, np.int32).reshape(-1), *steps])

    def _offsets(self, elements: NDArray[np.int32]) -> NDArray[np.int32]:
        """Where in the image elements of k are, from a pixel's upper left tap on."""
        x, (down, right) = self.conv.x, self.conv.dilations
        tap, within = np.divmod(elements, self.run)
        row, column = (tap, 0) if self.flat else np.divmod(tap, self.kw)
        offsets: NDArray[np.int32] = row * down * x.row + column * right * x.c + within
        return offsets.astype(np.int32)

    @cached_property
    def cycles(self) -> float:
        """The cycles it takes, roughly, with the steps that the weights ask for."""
        conv, tile, mk = self.conv, self.tile, self.mk
        tiles = -(-self.pixels // tile.pixels)
        rows = 1 if self.joined else conv.y.n * conv.y.h
        known = next(cycles for cycles, ranked in self.ranked if ranked == tile)
        more = 0.0
        for block in self._blocks:
            dots = tile.pixels * sum(mk.width(vector.lanes) for vector in block.chunk)
            natural, picked = len(block.steps.natural), len(block.steps.picked)
            # `known` reckons with natural steps alone: these are the steps more, or fewer.
            more += (natural + picked - self.taps * self.steps) * dots
            more += picked * tile.pixels * mk.pick_dots
        return known + rows * tiles * more / mk.dots_per_cycle


def _moved(chunk: tuple[Vector, ...], first: int) -> tuple[Vector, ...]:
    """The vectors, counted from the block's first channel."""
    return tuple(Vector(v.start - first, v.lanes, v.valid) for v in chunk)

"""Weights of four bits in blocks of k, each of which has a factor of its own.

    codes     [block of channels][pair of steps][vector][lane][k_step]
              a byte has a weight of each step, that of the first one in its lower four bits
    factors   [block of channels][block of k][vector][lane]
              float32; of integers int8, once for each of a step's bytes
    zeros     [block of channels][block of k][vector][lane]
              of floats alone

A block of channels is decoded before its pixels are computed: (code − zero) · factor, the very
numbers that the weights are; of integers the zero is 8.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.channels import pack_weights
from edgekiln.compiler.kernels.conv2d.narrow import lower_and_upper
from edgekiln.compiler.kernels.conv2d.plan import Channels, Packing
from edgekiln.compiler.kernels.conv2d.spec import ConvolutionSpec
from edgekiln.compiler.kernels.tir import let, repeat, scratch, store
from edgekiln.compiler.onnx_model.four_bits import LEAST
from edgekiln.compiler.onnx_model.weight_blocks import WeightBlocks, blocks_of
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, cast, const, load, splat


@dataclass(frozen=True)
class BlockedWeights:
    """How the weights of a plan lie in memory.

    Args:
        size: weights of a block of k, whole pairs of steps.
    """

    plan: Packing
    size: int

    @property
    def floats(self) -> bool:
        """Whether the weights are floats."""
        return self.plan.conv.weight.dtype == np.float32

    @property
    def pairs(self) -> int:
        """Pairs of steps in a block of k."""
        return self.size // (2 * self.plan.mk.k_step)

    @property
    def count(self) -> int:
        """Blocks of k."""
        run: int = self.plan.run
        return -(-run // self.size)

    def arrays(self) -> list[NDArray[np.generic]]:
        """The constants."""
        weights = self.plan.conv.weight.reshape(self.plan.oc, -1)
        found: WeightBlocks = blocks_of(weights, self.size)
        width = self.plan.mk.k_step
        codes = np.full((len(weights), self.count * self.size), -LEAST, np.uint8)
        codes[:, : weights.shape[1]] = found.codes
        steps = codes.reshape(len(weights), -1, 2, width)
        arrays = [self._packed(steps[:, :, 0] | steps[:, :, 1] << 4)]
        of_blocks = (found.factors, found.zeros) if self.floats else (found.factors,)
        return arrays + [self._packed(np.repeat(n[:, :, None], width, axis=2)) for n in of_blocks]

    def _packed(self, steps: NDArray[np.generic]) -> NDArray[np.generic]:
        """(channels, steps, k_step) as [block of channels][step][vector][lane][k_step]."""
        return pack_weights(steps, self.plan.layout, self.plan.mk)

    def decoder(self, constants: Sequence[Buffer]) -> "BlockDecoder":
        """Declare the memory of a decoded block."""
        dtype = "float32" if self.floats else "int8"
        elements = self.plan.most_channels * self.count * self.size
        memory = scratch(dtype, elements, 4 * self.plan.mk.register)
        return BlockDecoder(self, tuple(constants), memory)


@dataclass(frozen=True)
class BlockDecoder:
    """Decodes the weights of a block of channels, wherever one begins."""

    layout: BlockedWeights
    constants: tuple[Buffer, ...]
    decoded: Buffer

    def begin(self) -> None:
        """Emit what comes before all items: nothing."""

    def ready(self, channels: Channels) -> Channels:
        """Emit the decoding of a block; returns it with its weights where they are then."""
        layout, width = self.layout, self.layout.plan.mk.k_step
        row = channels.block.channels * width  # weights of a step
        stored = let(channels.lane * (layout.count * layout.pairs * width))
        numbers = let(channels.lane * (layout.count * width))
        with repeat(layout.count) as block:
            first, lane = let(block * layout.pairs), 0
            for vector in channels.block.vectors:
                n = vector.lanes * width
                at = let(numbers + block * row + lane)
                value = self._decoding(at, n)
                with repeat(layout.pairs) as pair:
                    step = let(first + pair)
                    both = let(load(self.constants[0], stored + step * row + lane, n))
                    for i, code in enumerate(lower_and_upper(both, n)):
                        store(self.decoded, (step * 2 + i) * row + lane, value(code), n)
                lane += n
        return replace(channels, weights=0)

    def _decoding(self, at: Index, n: int) -> Callable[[Expr], Expr]:
        """What makes weights of codes of a block, whose factors are at a place."""
        factor = let(load(self.constants[1], at, n))
        if self.layout.floats:
            zero = let(cast(load(self.constants[2], at, n), "float32", n))
            return lambda code: (cast(code, "float32", n) - zero) * factor
        offset = splat(const(-LEAST, "int8"), n)
        return lambda code: (cast(code, "int8", n) - offset) * factor


def fits(conv: ConvolutionSpec, mk: MicroKernel) -> bool:
    """Whether the weights are a matrix, whose rows are read in their own order, byte by byte."""
    if conv.weight.shape[2:] != (1, 1) or conv.groups != 1:
        return False
    step = np.zeros((1, mk.lanes[-1], mk.k_step), np.int8)
    arranged = mk.arrange(step)
    return (arranged.shape, arranged.dtype) == (step.shape, step.dtype)

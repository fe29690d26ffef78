"""Float weights of four bits, with a scale and a zero point for each block of k.

    codes     [block of channels][k / 2][lane]      a byte has two k of a lane, the first one in its
                                                    lower four bits
    scales    [block of channels][k / size][lane]
    zeros     [block of channels][k / size][lane]

A block of channels is decoded to floats before its pixels are computed: (code − zero) · scale, the
floats that the weights are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.channels import pack_weights
from edgekiln.compiler.kernels.conv2d.plan import Channels, Packing
from edgekiln.compiler.kernels.conv2d.spec import ConvolutionSpec
from edgekiln.compiler.kernels.tir import let, repeat, scratch, store
from edgekiln.compiler.onnx_model.weight_blocks import blocks_of
from edgekiln.targets.isa.expressions import Buffer, cast, const, load, splat


@dataclass(frozen=True)
class FloatBlocks:
    """How the weights of a plan lie in memory.

    Args:
        size: weights of a block of k.
    """

    plan: Packing
    size: int

    @property
    def count(self) -> int:
        """Blocks of k."""
        return -(-self.plan.steps // self.size)

    @property
    def pairs(self) -> int:
        """Bytes of a lane."""
        return self.count * self.size // 2

    def arrays(self) -> list[NDArray[np.generic]]:
        """The constants."""
        weights = np.asarray(self.plan.conv.weight, np.float32).reshape(self.plan.oc, -1)
        found = blocks_of(weights, self.size)
        codes = np.zeros((len(weights), 2 * self.pairs), np.uint8)
        codes[:, : weights.shape[1]] = found.codes
        pairs = codes[:, ::2] | codes[:, 1::2] << 4
        return [self._packed(each) for each in (pairs, found.scales, found.zeros)]

    def _packed(self, rows: NDArray[np.generic]) -> NDArray[np.generic]:
        """(channels, …) as [block of channels][…][lane]."""
        return pack_weights(rows[:, :, None], self.plan.layout, self.plan.mk)

    def decoder(self, constants: Sequence[Buffer]) -> "FloatDecoder":
        """Declare the memory of a decoded block."""
        most = max(block.channels for block in self.plan.layout)
        memory = scratch("float32", most * 2 * self.pairs, 4 * self.plan.mk.register)
        codes, scales, zeros = constants
        return FloatDecoder(self, codes, scales, zeros, memory)


@dataclass(frozen=True)
class FloatDecoder:
    """Decodes the weights of a block of channels, wherever one begins."""

    layout: FloatBlocks
    codes: Buffer
    scales: Buffer
    zeros: Buffer
    decoded: Buffer

    def ready(self, channels: Channels) -> Channels:
        """Emit the decoding of a block; returns it with its weights where they are then."""
        layout, width = self.layout, channels.block.channels
        codes, numbers = (let(channels.lane * each) for each in (layout.pairs, layout.count))
        with repeat(layout.count) as i:
            at, lane = let(numbers + i * width), 0
            first = let(i * (layout.size // 2))
            for vector in channels.block.vectors:
                n = vector.lanes
                scale = let(load(self.scales, at + lane, n))
                zero = let(cast(load(self.zeros, at + lane, n), "float32", n))
                with repeat(layout.size // 2) as pair:
                    row = let(first + pair)
                    both = let(load(self.codes, codes + row * width + lane, n))
                    four, mask = (splat(const(number, "uint8"), n) for number in (4, 15))
                    for k, code in enumerate((both & mask, both >> four)):
                        value = (cast(code, "float32", n) - zero) * scale
                        store(self.decoded, (row * 2 + k) * width + lane, value, n)
                lane += n
        return replace(channels, weights=0)


def is_matrix(conv: ConvolutionSpec) -> bool:
    """Whether the weights are a matrix, whose rows are read in their own order."""
    return conv.weight.shape[2:] == (1, 1) and conv.groups == 1

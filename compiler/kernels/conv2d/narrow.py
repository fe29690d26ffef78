"""Weights of four bits: two in a byte of memory, decoded for a block of channels at a time.

The loops over a block of channels do not know of it: in their scratch memory lies what would lie
among the constants. So all pixels should follow before the next block of channels does.

    a unit    byte 0        byte 1              `half` bytes; codes come from the lower four bits of
              ┌────┬────┐   ┌────┬────┐         all of them first, then from the upper ones
              │ c2 │ c0 │   │ c3 │ c1 │   …     (half = 2), each as 0 to 15 for -8 to 7
              └────┴────┘   └────┴────┘

Chips without vectors decode a word at once. For bytes it is such a unit of four; where weights are
widened to 16 bits, four bits of a word's lower half and the same of its upper one are neighbours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.conv2d.plan import Channels, Packing
from edgekiln.compiler.kernels.epilogue.sums import Weights
from edgekiln.compiler.kernels.tir import let, repeat, scratch, store
from edgekiln.compiler.onnx_model.four_bits import LEAST, MOST
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    cast,
    const,
    load,
    reinterpret,
    splat,
)  # fmt: skip

MOST_WHOLE_BYTES = 16 << 10  # of all weights of a layer, on a microcontroller's stack
_WORD_CODES = 8
_MOST_FILLED = 1 / 16  # of what is stored


@dataclass(frozen=True)
class NarrowLayout:
    """How the codes of a plan's blocks lie in memory.

    Args:
        plan: whose weights they are.
        codes: they, in the order in which the plan's loops read them.
        lane: codes of a lane of a block, those that fill up the block's last unit included.
        half: bytes of a unit; 0: words are units.
    """

    plan: Packing
    codes: NDArray[np.generic]
    lane: int
    half: int

    @property
    def pairs(self) -> bool:
        """Whether codes are widened to 16 bits."""
        return self.codes.dtype == np.int16

    @property
    def unit(self) -> int:
        """Codes that are decoded at once."""
        return 2 * self.half or _WORD_CODES

    @property
    def dtype(self) -> str:
        """The type of decoded codes."""
        return "int16" if self.pairs else "int8"

    def arrays(self) -> list[NDArray[np.generic]]:
        """The constant."""
        plan, codes = self.plan, self.codes
        assert codes.min() >= LEAST
        assert codes.max() <= MOST
        nibbles = (codes.astype(np.int32) - LEAST).astype(np.uint32)
        parts, at = [], 0
        for block in list(plan.layout) * plan.conv.groups:
            for _ in range(block.count):
                of_block = nibbles[at : at + block.channels * plan.lane_weights]
                whole = np.zeros(block.channels * self.lane, np.uint32)
                whole[: len(of_block)] = of_block
                parts.append(self._joined(whole))
                at += len(of_block)
        return [np.concatenate(parts)]

    def decoder(self, constants: Sequence[Buffer]) -> "Decoder":
        """Declare the memory of a decoded block."""
        plan, whole = self.plan, decodes_once(self.plan)
        lanes = plan.conv.groups * plan.group_lanes if whole else plan.most_channels
        # As vectors of weights are read; words where there are none.
        memory = scratch(self.dtype, lanes * self.lane, 4 * plan.mk.register)
        return Decoder(self, constants[0], memory, whole)

    def _joined(self, nibbles: NDArray[np.uint32]) -> NDArray[np.generic]:
        """Join nibbles, whole units of them, in bytes or words."""
        if self.half:
            low, high = nibbles.reshape(-1, 2, self.half).transpose(1, 0, 2)
            return (low | high << 4).astype(np.uint8).reshape(-1)
        # By the place of each code's four bits in the word.
        shifts = [4 * (i // 2) + 16 * (i % 2) for i in range(8)]
        if not self.pairs:
            shifts = [8 * (i % 4) + 4 * (i // 4) for i in range(8)]
        words = (nibbles.reshape(-1, 8) << np.array(shifts, np.uint32)).sum(1, dtype=np.uint32)
        joined: NDArray[np.int32] = words.view(np.int32)
        return joined


def stay_narrow(weight: Weights, mk: MicroKernel) -> bool:
    """Whether weights of four bits have no more of them as the chip's products take them: one
    weight of a pair may have to pay for the other's sign.
    """
    products = mk.widened or mk.products
    least = np.full((1, products.lanes[-1], products.k_step), weight.min(), np.int8)
    return bool(products.arrange(least).min() >= LEAST)


def decodes_once(plan: Packing) -> bool:
    """Whether all weights are decoded before the first item: where blocks would be for each strip
    of pixels, and there are few.
    """
    weights = plan.oc * plan.conv.groups * plan.lane_weights
    return plan.repeats_blocks and weights * 2 <= MOST_WHOLE_BYTES


def layout_of(plan: Packing) -> NarrowLayout:
    """The layout that suits a plan's blocks and its chip's vectors."""
    mk, codes, stored = plan.mk, plan.packed_weights(), plan.lane_weights
    channels = [block.channels for block in plan.layout]
    if not mk.byte_lanes:
        return NarrowLayout(plan, codes, _filled(stored, _WORD_CODES), 0)
    # The widest vector that leaves few codes over.
    for half in mk.byte_lanes:
        lane = _filled(stored, 2 * half // math.gcd(2 * half, *channels))
        if lane - stored <= stored * _MOST_FILLED or half == mk.byte_lanes[-1]:
            break
    return NarrowLayout(plan, codes, lane, half)


def _filled(codes: int, whole: int) -> int:
    return math.ceil(codes / whole) * whole


@dataclass(frozen=True)
class Decoder:
    """Decodes the weights of a block of channels, wherever one begins, or of all before the first.

    Args:
        whole: of all; there is memory for them.
    """

    layout: NarrowLayout
    packed: Buffer
    decoded: Buffer
    whole: bool

    def begin(self) -> None:
        """Emit what comes before all items."""
        if self.whole:
            for channels in self.layout.plan.channel_blocks():
                self._decode(channels, let(channels.lane * self.layout.lane))

    def ready(self, channels: Channels) -> Channels:
        """Emit the decoding of a block; returns it with its weights where they are then."""
        if self.whole:
            return replace(channels, weights=let(channels.lane * self.layout.lane))
        self._decode(channels, 0)
        return replace(channels, weights=0)

    def _decode(self, channels: Channels, to: Index) -> None:
        """Emit the decoding of a block to a place."""
        unit = self.layout.unit
        # Of bytes or of words, each of which has as many codes.
        each = 2 if self.layout.half else _WORD_CODES
        count = channels.block.channels * self.layout.lane // unit
        source = let(channels.lane * (self.layout.lane // each))
        with repeat(count) as i:
            self._unit(let(source + i * (unit // each)), let(to + i * unit))

    def _unit(self, source: Index, to: Index) -> None:
        """Emit the decoding of a unit."""
        half, dtype = self.layout.half, self.layout.dtype
        if half:
            offset = splat(const(-LEAST, dtype), half)
            pairs = load(self.packed, source, half)
            for i, nibbles in enumerate(lower_and_upper(pairs, half)):
                store(self.decoded, to + i * half, cast(nibbles, dtype, half) - offset, half)
            return
        word = let(reinterpret(load(self.packed, source), "uint32"))
        if self.layout.pairs:
            for i in range(4):
                pair = _signed(_shifted(word, 4 * i), 0x000F000F, 0x80008000, 0x00080008)
                store(self.decoded, to + 2 * i, reinterpret(pair, dtype, 2), 2)
        else:
            for i in range(2):
                four_codes = _signed(_shifted(word, 4 * i), 0x0F0F0F0F, 0x80808080, 0x08080808)
                store(self.decoded, to + 4 * i, reinterpret(four_codes, dtype, 4), 4)


def lower_and_upper(pairs: Expr, lanes: int) -> tuple[Expr, Expr]:
    """Return the lower and the upper four bits of bytes, uint8 × lanes each."""
    four, mask = (splat(const(number, "uint8"), lanes) for number in (4, 15))
    return pairs & mask, pairs >> four


def _shifted(word: Expr, bits: int) -> Expr:
    return word >> const(bits, "uint32") if bits else word


def _signed(word: Expr, mask: int, top: int, offset: int) -> Expr:
    """Return each part of a word, masked, minus the offset: with the top bit of each set nothing is
    borrowed from the next.
    """
    mask_, top_, offset_ = (const(n, "uint32") for n in (mask, top, offset))
    return (((word & mask_) | top_) - offset_) ^ top_

"""Loops over k for Armv7E-M's DSP extension: two kinds of weights, two orders of the instructions.

A core that issues one instruction at a time, the Cortex-M4, takes a load in one cycle if it follows
another one: loads of a step come together. The Cortex-M7 issues a load beside a product, if neither
waits for the other: a register is loaded again as soon as its last product was issued, and what it
gets is two products old when it is needed.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from edgekiln.targets.isa.arm_dsp_registers import RegisterLoop
from edgekiln.targets.isa.expressions import Assembly
from edgekiln.targets.isa.halfwords import TileLoop
from edgekiln.targets.isa.inline_assembly import Lines


def product_loop(tile: TileLoop, *, dual_issue: bool) -> Assembly | None:
    """The loop of a tile; None where registers or offsets do not suffice."""
    of_bytes = _InterleavedByteWeights if dual_issue else _ByteWeights
    of_halfwords = _Interleaved if dual_issue else _Grouped
    loop = of_bytes(tile) if tile.weight_bytes == 1 else of_halfwords(tile)
    return loop.function() if loop.fits else None


class _Halfwords(RegisterLoop):
    """Weights of 16 bits: a word of each pixel and of each channel a step, all in registers."""

    @property
    def temporaries(self) -> int:
        return self.tile.pixels + self.tile.channels

    def _pixel(self, pixel: int) -> str:
        return self.temporary(pixel)

    def _weight(self, channel: int) -> str:
        return self.temporary(self.tile.pixels + channel)

    def _load_pixel(self, pixel: int, step: int) -> str:
        return f"ldr {self._pixel(pixel)}, {self.pixel_at(pixel, step)}"


class _Grouped(_Halfwords):
    """Loads of a step together, then its products."""

    @property
    def pipelined(self) -> bool:
        return False

    def loads(self, step: int) -> Lines:
        channels = range(self.tile.channels)
        weights = self.load_weights(step, channels, [self._weight(c) for c in channels])
        return [*weights, *(self._load_pixel(p, step) for p in range(self.tile.pixels))]

    def steps(self, count: int, *, last: bool, first: bool = False) -> Lines:
        del last  # a step loads for itself alone
        lines = []
        for step in range(count):
            lines += self.loads(step)
            lines += [
                self.product(p, c, self._pixel(p), self._weight(c), first=first and step == 0)
                for p in range(self.tile.pixels)
                for c in range(self.tile.channels)
            ]
        return lines


class _Interleaved(_Halfwords):
    """Loads of the next step beside the products of this one."""

    def loads(self, step: int) -> Lines:
        pixels = [self._load_pixel(p, step) for p in range(self.tile.pixels)]
        return [*pixels, *(self._load_weight(c, step) for c in range(self.tile.channels))]

    def _load_weight(self, channel: int, step: int) -> str:
        return self.load_weights(step, [channel], [self._weight(channel)])[0]

    def steps(self, count: int, *, last: bool, first: bool = False) -> Lines:
        lines: Lines = []
        due: list[tuple[str, str]] = []  # registers that had their last product, and their loads
        for step in range(count):
            ahead = not last or step < count - 1
            for p, c in self._order():
                a, w = self._pixel(p), self._weight(c)
                while any(register in (a, w) for register, _ in due):
                    lines.append(due.pop(0)[1])
                lines.append(self.product(p, c, a, w, first=first and step == 0))
                if ahead and c == self.tile.channels - 1:
                    due.append((a, self._load_pixel(p, step + 1)))
                if ahead and p == self.tile.pixels - 1:
                    due.append((w, self._load_weight(c, step + 1)))
                if due:
                    lines.append(due.pop(0)[1])
        return [*lines, *(load for _, load in due)]

    def _order(self) -> Iterator[tuple[int, int]]:
        for c in range(self.tile.channels):
            for p in range(self.tile.pixels):
                yield p, c


_LOAD = "the next two words"  # among the parts of `_ByteWeights.ORDER`


class _ByteWeights(RegisterLoop):
    """Weights of 8 bits, each read once: two SXTB16 widen a word, as the pixel's were before.

    Two channels are multiplied together, bytes 1 and 3 of their words before 0 and 2: they leave
    the registers that the next words are loaded to, two products before these are needed.
    """

    ORDER: ClassVar[tuple[str, ...]] = (
        "low 0", "high 0", "low 1", "odd 0", "high 1", "odd 1", _LOAD, "even 0", "even 1",
    )  # fmt: skip

    @property
    def temporaries(self) -> int:
        return 6

    @property
    def pixel_step(self) -> int:
        return 8

    def loads(self, step: int) -> Lines:
        return [self._load_pixel(step), *self._load_pair(step, self._pair(0))]

    def steps(self, count: int, *, last: bool, first: bool = False) -> Lines:
        del first  # a lone pixel's sums are where they start
        lines: Lines = []
        for step in range(count):
            ahead = not last or step < count - 1
            for c in range(0, self.tile.channels, 2):
                following: Lines = []
                # A pair's words come while the one before it is multiplied.
                if c + 2 < self.tile.channels:
                    following = self._load_pair(step, self._pair(c + 2))
                elif ahead:
                    following = self._load_pair(step + 1, self._pair(0))
                lines += self._multiplied(self._pair(c), following)
            if ahead:
                lines.append(self._load_pixel(step + 1))
        return lines

    def _pair(self, channel: int) -> range:
        return range(channel, min(channel + 2, self.tile.channels))

    def _load_pixel(self, step: int) -> str:
        return f"ldrd {self.temporary(0)}, {self.temporary(1)}, {self.pixel_at(0, step)}"

    def _load_pair(self, step: int, channels: Sequence[int]) -> Lines:
        return self.load_weights(step, channels, [self.temporary(2), self.temporary(3)])

    def _lone(self, channel: int, word: str, codes: str) -> str:
        return self.product(0, channel, codes, word, first=False)

    def _multiplied(self, channels: Sequence[int], following: Lines) -> Lines:
        """The products of one or two channels."""
        even, odd = self.temporary(0), self.temporary(1)
        parts = {_LOAD: following}
        for i, channel in enumerate(channels):
            word, low = self.temporary(2 + i), self.temporary(4 + i)
            parts |= {
                f"low {i}": [f"sxtb16 {low}, {word}"],
                f"high {i}": [f"sxtb16 {word}, {word}, ror #8"],
                f"even {i}": [self._lone(channel, low, even)],
                f"odd {i}": [self._lone(channel, word, odd)],
            }
        return [line for name in self.ORDER for line in parts.get(name, [])]


class _InterleavedByteWeights(_ByteWeights):
    """Each product beside a widening that it does not wait for."""

    ORDER = ("low 0", "high 0", "even 0", "low 1", "odd 0", "high 1", "even 1", "odd 1", _LOAD)

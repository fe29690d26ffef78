"""The frame of a loop over k for Armv7E-M's DSP extension: what each register is, what repeats.

A compiler keeps sums on the stack there, and computes addresses anew. What it makes of a tile of 3
pixels × 2 channels takes 1.1 to 1.4 instructions a product; 4 loads and 6 SMLAD for 12 are 0.83.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from edgekiln.targets.isa.expressions import Assembly
from edgekiln.targets.isa.halfwords import TileLoop
from edgekiln.targets.isa.inline_assembly import Lines, SumLoop

_REGISTERS = (*(f"r{number}" for number in range(13)), "lr")
X, W = _REGISTERS[:2]  # addresses in the scratch and in the weights
_MOST_OFFSET = 4095  # of LDR
# Steps without a loop, or in an iteration of it, at most: not more than 1 KiB of code, for caches
# before flash are small.
_UNROLLED = 24


@dataclass(frozen=True)
class RegisterLoop(ABC):
    """Writes the loop of a tile: rows, in each of them iterations of steps, then those left over.

    In registers from the first on: both addresses, what was loaded of pixels and weights, sums, and
    where there is a loop the end of a row. Those of the last pixel's sums hold at first what all
    pixels' start from. No choice is left to LLVM, which would keep sums on the stack behind the
    loop for the sake of what is used more often.
    """

    tile: TileLoop

    @property
    @abstractmethod
    def temporaries(self) -> int:
        """Registers for pixels and weights."""

    @property
    def pipelined(self) -> bool:
        """Whether a step's operands are loaded among the products of the one before it."""
        return True

    @property
    def pixel_step(self) -> int:
        """Bytes that a step takes of a pixel."""
        return 4

    @property
    def weight_step(self) -> int:
        """Bytes that a step takes of the weights: a word a channel."""
        return 4 * self.tile.channels

    @abstractmethod
    def loads(self, step: int) -> Lines:
        """Load all that a step needs."""

    @abstractmethod
    def steps(self, count: int, *, last: bool, first: bool = False) -> Lines:
        """Steps from the first on, products of the last pixel behind the others of its channel.

        Args:
            last: nothing comes behind the last of them, so nothing is loaded for it.
            first: sums start in the first of them.
        """

    @property
    def fits(self) -> bool:
        """Whether registers and offsets suffice."""
        return self._registers <= len(_REGISTERS) and self._reach(rows=1) <= _MOST_OFFSET

    def _reach(self, rows: int) -> int:
        """The largest offset in the scratch, if so many rows are read without a loop."""
        width = min(self.tile.steps, _UNROLLED + 1) * self.pixel_step
        return (
            (self.tile.pixels - 1) * self.tile.pixel_bytes
            + (rows - 1) * self.tile.row_bytes
            + width
        )

    @property
    def _registers(self) -> int:
        looped = self._iterations[0] > 0
        return 2 + self.temporaries + self.tile.pixels * self.tile.channels + looped

    def temporary(self, number: int) -> str:
        """A register for pixels or weights."""
        return _REGISTERS[2 + number]

    @property
    def _sums(self) -> Lines:
        """The registers of the sums, those of a pixel side by side."""
        first = 2 + self.temporaries
        return [*_REGISTERS[first : first + self.tile.pixels * self.tile.channels]]

    def _sum(self, pixel: int, channel: int) -> str:
        return self._sums[pixel * self.tile.channels + channel]

    def product(self, pixel: int, channel: int, a: str, w: str, *, first: bool) -> str:
        """Add two products to a sum."""
        before = self._sum(self.tile.pixels - 1 if first else pixel, channel)
        return f"smlad {self._sum(pixel, channel)}, {a}, {w}, {before}"

    def pixel_at(self, pixel: int, step: int) -> str:
        """The address of what a step takes of a pixel; steps go on in the next row."""
        row, column = divmod(step, self.tile.steps)
        at = pixel * self.tile.pixel_bytes + row * self.tile.row_bytes + column * self.pixel_step
        return f"[{X}, #{at}]"

    def load_weights(self, step: int, channels: Sequence[int], registers: Sequence[str]) -> Lines:
        """Load the words of channels, two by two where they are neighbours."""
        at = step * self.weight_step + channels[0] * 4
        if len(channels) == 1:
            return [f"ldr {registers[0]}, [{W}, #{at}]"]
        first = f"ldrd {registers[0]}, {registers[1]}, [{W}, #{at}]"
        rest = self.load_weights(step, channels[2:], registers[2:]) if channels[2:] else []
        return [first, *rest]

    @property
    def _straight(self) -> bool:
        """Whether nothing is repeated."""
        tile = self.tile
        return tile.rows * tile.steps <= _UNROLLED and self._reach(tile.rows) <= _MOST_OFFSET

    @property
    def _iterations(self) -> tuple[int, int]:
        """How often the loop over a row runs, and how many steps it has."""
        if self.tile.steps <= _UNROLLED:
            return 0, 0
        # What is loaded behind the last step is left out, so that one is never in the loop.
        steps = self.tile.steps - 1 if self.pipelined else self.tile.steps
        sizes = range(_UNROLLED, 0, -1)
        unrolled = min(sizes, key=lambda size: steps // size + steps % size)
        return steps // unrolled, unrolled

    def _forward(self, pixel_bytes: int, weight_steps: int) -> Lines:
        """Move both addresses."""
        moves = [(X, pixel_bytes), (W, weight_steps * self.weight_step)]
        return [f"addw {address}, {address}, #{by}" for address, by in moves if by]

    def _row(self) -> Lines:
        """All steps of a row of the filter; where there are more, both addresses are moved on."""
        whole, unrolled = self._iterations
        done = whole * unrolled
        rest = self.tile.steps - done
        lines = self.loads(0) if self.pipelined else []
        if whole:
            end = _REGISTERS[self._registers - 1]
            lines += [*_constant(end, done * self.pixel_step), f"add {end}, {X}", "1:"]
            lines += self.steps(unrolled, last=False)
            lines += self._forward(unrolled * self.pixel_step, unrolled)
            lines += [f"cmp {X}, {end}", "bne 1b"]
        lines += self.steps(rest, last=True)
        if self.tile.rows > 1:
            lines += self._forward(self.tile.row_bytes - done * self.pixel_step, rest)
        return lines

    def _lines(self) -> Lines:
        """All of the assembly."""
        if self._straight:
            start = self.loads(0) if self.pipelined else []
            return [*start, *self.steps(self.tile.rows * self.tile.steps, last=True, first=True)]
        start = [
            f"mov {self._sum(p, c)}, {self._sum(self.tile.pixels - 1, c)}"
            for p in range(self.tile.pixels - 1)
            for c in range(self.tile.channels)
        ]
        if self.tile.rows == 1:
            return [*start, *self._row()]
        # No general register is left for where the weights end, but one for floats is: `$0`.
        spare = self.temporary(0)
        length = self.tile.rows * self.tile.steps * self.weight_step
        before = [*_constant(spare, length), f"add {spare}, {W}", f"vmov $0, {spare}"]
        again = [f"vmov {spare}, $0", f"cmp {W}, {spare}", "bne 2b"]
        return [*start, *before, "2:", *self._row(), *again]

    def function(self) -> Assembly:
        """The assembly as a function of LLVM: of both addresses and of where each sum lies."""
        sums, lines = self._sums, self._lines()
        kept = [*sums, X, W]
        return SumLoop(
            name="_".join((type(self).__name__, *map(str, astuple(self.tile)))),
            lines=lines,
            sums=sums,
            given=sums[-self.tile.channels :],
            addresses=(X, W),
            spoiled=[name for name in _REGISTERS[: self._registers] if name not in kept],
            ends=["=&t"] * any("$0" in line for line in lines),
        ).function()


def _constant(register: str, value: int) -> Lines:
    """Set a register."""
    lines = [f"movw {register}, #{value & 0xFFFF}"]
    return [*lines, f"movt {register}, #{value >> 16}"] if value >> 16 else lines

"""The loop over k for Armv6-M: two products of an instruction whose products have 32 bits.

Of words a = a₁·2¹⁶ + a₀ and w = w₀·2¹⁶ + w₁, as integers, so that a negative lower half takes one
of the upper one, MULS leaves

    a · w  =  (a₀·w₀ + a₁·w₁)·2¹⁶ + a₀·w₁    modulo 2³²

ASRS by 16 then has the sum of both products, one less where a₀·w₁ is negative. As |a₀·w₁| < 2¹⁵,
the last bit that is shifted out, the carry, says whether it is, and ADCS adds that. So two products
take three instructions, where MULS and ADDS of each take four, and half as many loads. Products of
codes of 8 bits fit, but for twice -128 · -128, which is 2¹⁵.

Sums, addresses and operands must be in the eight registers that all instructions reach: a pixel
with up to four channels. LDM moves its address on by itself; of two words it takes three cycles.
"""

from dataclasses import astuple, dataclass

from edgekiln.targets.isa.expressions import Assembly
from edgekiln.targets.isa.halfwords import TileLoop
from edgekiln.targets.isa.inline_assembly import Lines, SumLoop

_X, _W, _A, *_OTHERS = (f"r{number}" for number in range(8))
_ROW_END, _END = "r8", "r9"
MOST_CHANNELS = 4
_REACH = 120  # instructions that a conditional branch leads back over, at most


def product_loop(tile: TileLoop) -> Assembly | None:
    """The loop of a tile; None where registers do not suffice."""
    # A word of what is split lies at whole words.
    aligned = not tile.split or (tile.pixel_bytes % 4 == 0 and tile.row_bytes % 4 == 0)
    fits = tile.pixels == 1 and tile.channels <= MOST_CHANNELS and tile.weight_bytes == 2
    fits = fits and aligned
    return _ProductLoop(tile).function() if fits else None


@dataclass(frozen=True)
class _ProductLoop:
    """Writes the loop of a tile: rows, of iterations of steps and of those that are left over."""

    tile: TileLoop

    @property
    def _sums(self) -> Lines:
        return _OTHERS[: self.tile.channels]

    @property
    def _weights(self) -> Lines:
        """What is left for weights, two registers at most."""
        return _OTHERS[self.tile.channels :][:2]

    @property
    def _load_pixel(self) -> Lines:
        """Load a word, or make it of two halves, each with its sign, which lie anywhere."""
        if self.tile.split:
            return [f"ldm {_X}!, {{{_A}}}"]
        upper = self._weights[0]
        load = [f"ldrh {upper}, [{_X}, #2]", f"lsls {upper}, {upper}, #16"]
        load += [f"movs {_A}, #0", f"ldrsh {_A}, [{_X}, {_A}]"]
        return [*load, f"adds {_A}, {_A}, {upper}", f"adds {_X}, #4"]

    def _steps(self, count: int) -> Lines:
        lines: Lines = []
        for _ in range(count):
            lines += self._load_pixel
            for first in range(0, self.tile.channels, len(self._weights)):
                sums = self._sums[first : first + len(self._weights)]
                weights = self._weights[: len(sums)]
                lines.append(f"ldm {_W}!, {{{', '.join(weights)}}}")
                for total, weight in zip(sums, weights, strict=True):
                    lines += [f"muls {weight}, {_A}, {weight}", f"asrs {weight}, {weight}, #16"]
                    lines.append(f"adcs {total}, {weight}")
        return lines

    @property
    def _unrolled(self) -> int:
        """Steps without a loop, or in an iteration of it, at most."""
        return _REACH // len(self._steps(1))

    def _row(self) -> Lines:
        steps = self.tile.steps
        if steps <= self._unrolled:
            return self._steps(steps)
        sizes = range(self._unrolled, 0, -1)
        unrolled = min(sizes, key=lambda size: steps // size + steps % size)
        whole = steps // unrolled
        lines = [*_constant(_A, whole * unrolled * 4), f"add {_A}, {_X}", f"mov {_ROW_END}, {_A}"]
        lines += ["1:", *self._steps(unrolled), f"cmp {_X}, {_ROW_END}", "bne 1b"]
        return lines + self._steps(steps - whole * unrolled)

    def _lines(self) -> Lines:
        tile = self.tile
        if tile.rows == 1:
            return self._row()
        # Whether there is a loop is asked before it is known how long rows are.
        further = max(0, tile.row_bytes - tile.steps * 4)
        forward = [*_constant(_A, further), f"add {_X}, {_A}"]
        if tile.rows * tile.steps <= self._unrolled:
            row = self._row()
            return [*row, *([*forward, *row] * (tile.rows - 1))]
        bytes_ = tile.rows * tile.steps * tile.channels * 4
        start = [*_constant(_A, bytes_), f"add {_A}, {_W}", f"mov {_END}, {_A}"]
        # The loop's end is further away than a conditional branch reaches, if its rows are long.
        again = [f"cmp {_W}, {_END}", "beq 3f", "b 2b", "3:"]
        return [*start, "2:", *self._row(), *forward, *again]

    def function(self) -> Assembly:
        """The assembly as a function of LLVM: of both addresses and of where each sum lies."""
        kept = (*self._sums, _X, _W)
        return SumLoop(
            name="_".join((type(self).__name__, *map(str, astuple(self.tile)))),
            lines=self._lines(),
            sums=self._sums,
            given=self._sums,
            addresses=(_X, _W),
            spoiled=[each for each in (_A, *_OTHERS, _ROW_END, _END) if each not in kept],
        ).function()


def _constant(register: str, value: int) -> Lines:
    """Set a register, eight bits at a time."""
    parts = value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")
    lines = [f"movs {register}, #{parts[0]}"]
    for part in parts[1:]:
        lines += [f"lsls {register}, {register}, #8", f"adds {register}, #{part}"]
    return lines

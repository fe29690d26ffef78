"""PACK and UNPACK: bytes enter wide vectors by these and leave by those, 128 bits at a time."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from edgekiln.targets.isa.expressions import Expr, inverse, llvm, shuffle, vector


class Packed(NamedTuple):
    """A vector, and which lane each of its elements is."""

    value: Expr
    lanes: Sequence[int]

    def part(self, start: int, count: int) -> "Packed":
        stop = start + count
        return Packed(shuffle([self.value], range(start, stop)), self.lanes[start:stop])

    def plus(self, words: Expr) -> "Packed":
        """Return the saturated sum with int16 `words`."""
        dtype = vector("int16", len(self.lanes))
        return Packed(llvm("llvm.sadd.sat", dtype, self.value, words), self.lanes)

    def in_order(self) -> Expr:
        return shuffle([self.value], inverse(self.lanes))


def pack(instruction: str, bits: int, a: Packed, b: Packed) -> Packed:
    """Pack both in one register, with saturation: of each 128-bit part first a's elements, then
    b's.

    Args:
        bits: of their elements, 32 or 16.
    """
    count, step = len(a.lanes), 128 // bits
    sets = {128: ("sse2", ".128"), 256: ("avx2", ""), 512: ("avx512", ".512")}
    extension, suffix = sets[count * bits]
    dtype = vector("int16" if bits == 32 else "uint8", 2 * count)
    value = llvm(f"llvm.x86.{extension}.{instruction}{suffix}", dtype, a.value, b.value)
    starts = range(0, count, step)
    return Packed(value, [*chain(*(x.lanes[at : at + step] for at in starts for x in (a, b)))])


def unpack(a: Expr, b: Expr, half: int, size: int, total: int) -> Expr:
    """PUNPCKL or PUNPCKH: take the elements of one half of each 128-bit part, from a and b in turn.

    Args:
        half: 0 or 1.
        size: bytes of an element.
        total: bytes of a.
    """
    places = [
        x * total + element + byte
        for part in range(8 * half, total, 16)
        for element in range(part, part + 8, size)
        for x in (0, 1)
        for byte in range(size)
    ]
    return shuffle([a, b], places)

"""x86's PMADDUBSW: two products of bytes in 16 bits, for weights of which no pair is too large."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, const, llvm, reinterpret, shuffle, splat
from edgekiln.targets.isa.x86_common import PART, X86MicroKernel, interleaving

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What the magnitudes of two weights may sum to: 255·128 = 32,640 is an int16, 255·129 is none.
MOST_OF_PAIR = 128
_WINDOW = 16  # bytes in which PSHUFB looks


class PairedByteMicroKernel(X86MicroKernel):
    """PMADDUBSW adds two products in 16 bits and saturates, PMADDWD with ones widens the sums."""

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        return self.by_register(_dot, lanes, (acc, 1), (a, 4), (w, 4))

    def picked(self, window: Expr, places: Expr, lanes: int) -> Expr:
        size = min(lanes, self.register)
        wide = shuffle([window] * (size // PART), range(4 * size))
        four = reinterpret(splat(places, size), "uint8", 4 * size)
        name = {PART: "ssse3.pshuf.b.128", 2 * PART: "avx2.pshuf.b"}[size]
        # Every 128 bits of a register hold the same window.
        found = llvm(f"llvm.x86.{name}", f"uint8x{4 * size}", wide, four)
        return shuffle([found] * (lanes // size), range(4 * lanes))


class InterleavedByteMicroKernel(PairedByteMicroKernel):
    """Three image rows in four bytes: the second one twice, and its weight in two parts.

    So a column of a filter is exact if its magnitudes sum to at most twice `MOST_OF_PAIR`.
    """

    @classmethod
    def of(cls, mk: MicroKernel) -> Self:
        """The form of an instruction set that multiplies bytes as words."""
        return interleaving(cls, mk, k_step=3)

    def interleave(self, rows: Sequence[Expr], lanes: int) -> Expr:
        zero = splat(const(0, "uint8"), lanes)
        first, second, third, *_ = *rows, zero, zero
        return super().interleave([first, second, third, second], lanes)

    def arrange(self, weights: "NDArray[np.generic]") -> "NDArray[np.generic]":
        first, second, third = np.moveaxis(weights.astype(np.int16), -1, 0)
        room = MOST_OF_PAIR - np.abs(first)
        beside = np.clip(second, -room, room)
        rest = second - beside
        assert (np.abs(third) + np.abs(rest) <= MOST_OF_PAIR).all(), "a pair would saturate"
        return np.stack([first, beside, third, rest], axis=-1).astype(np.int8)


def _dot(acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
    bytes_, words = {
        PART: ("ssse3.pmadd.ub.sw.128", "sse2.pmadd.wd"),
        2 * PART: ("avx2.pmadd.ub.sw", "avx2.pmadd.wd"),
    }[lanes]
    pairs = llvm(f"llvm.x86.{bytes_}", f"int16x{2 * lanes}", a, w)
    ones = splat(const(1, "int16"), 2 * lanes)
    return acc + llvm(f"llvm.x86.{words}", f"int32x{lanes}", pairs, ones)

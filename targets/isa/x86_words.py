"""x86 without VNNI: bytes become words, and PMADDWD, which is exact, multiplies those.

PMADDUBSW would multiply u8 by s8 directly, but it saturates to int16: 2·255·127 does not fit.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, cast, const, llvm, reinterpret, splat
from edgekiln.targets.isa.halfwords import Widening
from edgekiln.targets.isa.x86_common import PairMicroKernel, X86MicroKernel, interleaving
from edgekiln.targets.isa.x86_pairs import InterleavedByteMicroKernel, PairedByteMicroKernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class WordMicroKernel(X86MicroKernel):
    """Splits each word into its even and its odd byte: a broadcast pixel costs two instructions for
    all of its channels.
    """

    @property
    def paired(self) -> MicroKernel:
        return PairedByteMicroKernel(
            name=f"{self.name}_bytes",
            activation=self.activation,
            lanes=self.lanes,
            register_lanes=self.register_lanes,
            registers=self.registers,
            scratch_registers=4,  # ones, places, a pixel, products
            dot_latency=1,  # of the PADDD; all else is done by then
            dots_per_cycle=self.dots_per_cycle,  # two multiplications, as of words
            pick_dots=0.4,  # measured on Zen 4
            loop_costs=self.loop_costs,
            epilogue_cycles=self.epilogue_cycles,
        )

    @property
    def filtering(self) -> MicroKernel:
        # Half the instructions of a dot product of bytes: one PMADDWD, one PADDD.
        return WordPairMicroKernel.of(self, dots_per_cycle=1.5 * self.dots_per_cycle)

    @property
    def widened(self) -> MicroKernel | None:
        # Nothing is split: two PMADDWD where bytes take two and what makes words of them.
        return replace(
            WordPairMicroKernel.of(self, dots_per_cycle=2 * self.dots_per_cycle),
            weight_registers=0,  # PMADDWD takes them from memory
            pixel_registers=1,
            scratch_registers=3,
            dot_latency=1,  # of the PADDD
            loop_costs=self.loop_costs,
            epilogue_cycles=self.epilogue_cycles,
        )

    @property
    def depthwise(self) -> MicroKernel:
        return InterleavedWordMicroKernel.of(self)

    @property
    def paired_depthwise(self) -> MicroKernel:
        return InterleavedByteMicroKernel.of(self)

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        return self.by_register(_dot, lanes, (acc, 1), (a, 4), (w, 4))


class WordWidening(Widening):
    """PMOVZXBW widens half a register of codes."""

    def widen(self, codes: Expr) -> Expr:
        return reinterpret(cast(codes, f"uint16x{self.elements}"), "int16", self.elements)


class WordPairMicroKernel(PairMicroKernel):
    """Multiplies words that are words already."""

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        return self.by_register(_add_products, lanes, (acc, 1), (a, 2), (w, 2))


class InterleavedWordMicroKernel(X86MicroKernel):
    """Multiplies words: rows are widened while they are interleaved, weights when packed."""

    @classmethod
    def of(cls, mk: MicroKernel) -> Self:
        """The form of an instruction set that multiplies bytes as words."""
        return interleaving(cls, mk, k_step=2)

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        return self.by_register(_add_products, lanes, (acc, 1), (a, 4), (w, 4))

    def interleave(self, rows: Sequence[Expr], lanes: int) -> Expr:
        zero = splat(const(0, "uint8"), lanes)
        first, second, *_ = *rows, zero
        return super().interleave([first, zero, second, zero], lanes)

    def arrange(self, weights: "NDArray[np.generic]") -> "NDArray[np.generic]":
        return weights.astype("int16").view("int8")


def _dot(acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
    words = 2 * lanes
    eight = splat(const(8, "int16"), words)
    # The halves of `a` and `w` depend on one operand only: LLVM computes each once per tile.
    a16 = reinterpret(a, f"uint16x{words}")
    w16 = reinterpret(w, f"int16x{words}")
    a_even = a16 & splat(const(0xFF, "uint16"), words)
    a_odd = a16 >> cast(eight, f"uint16x{words}")
    w_even = (w16 << eight) >> eight
    w_odd = w16 >> eight
    return _add_products(_add_products(acc, a_even, w_even, lanes), a_odd, w_odd, lanes)


def _add_products(acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
    """Add two int16 products a lane; `a` and `w` are in any form of as many bytes."""
    name = "llvm.x86.avx2.pmadd.wd" if lanes == 8 else "llvm.x86.sse2.pmadd.wd"
    words = (reinterpret(operand, f"int16x{2 * lanes}") for operand in (a, w))
    return acc + llvm(name, f"int32x{lanes}", *words)

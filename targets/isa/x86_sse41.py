"""x86 with SSE4.1 and no AVX: words in registers of 128 bits, and no fused multiply-add.

Codes are those of all other chips: where these round a product and a sum once, so does this one.
"""

from dataclasses import replace

from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.costs import ZEN4_LOOP
from edgekiln.targets.isa.expressions import Buffer, Expr
from edgekiln.targets.isa.fused import multiply_add
from edgekiln.targets.isa.x86_common import PART, X86MicroKernel
from edgekiln.targets.isa.x86_pairs import InterleavedByteMicroKernel
from edgekiln.targets.isa.x86_words import InterleavedWordMicroKernel, WordMicroKernel, WordWidening


class SseMicroKernel(X86MicroKernel):
    """What codes and floats have in common without AVX and FMA."""

    @property
    def sums_as_floats(self) -> bool:
        return False

    def fma(self, a: Expr, b: Expr, c: Expr, lanes: int) -> Expr:
        return self.by_register(multiply_add, lanes, (a, 1), (b, 1), (c, 1))

    def powers(self, base: float) -> list[float]:
        return MicroKernel.powers(self, base)

    def power(self, table: Buffer, exponent: Expr, lanes: int) -> Expr:
        """Read each lane's own: there is no VPERMPS."""
        return MicroKernel.power(self, table, exponent, lanes)


class Sse41MicroKernel(SseMicroKernel, WordMicroKernel):
    """Codes: as AVX2 has them, in half as wide registers."""

    @property
    def depthwise(self) -> MicroKernel:
        return SseInterleavedWordMicroKernel.of(self)

    @property
    def paired_depthwise(self) -> MicroKernel:
        return SseInterleavedByteMicroKernel.of(self)


# The forms that finish sums themselves must not ask for AVX or FMA, either.
class SseInterleavedWordMicroKernel(SseMicroKernel, InterleavedWordMicroKernel):
    """Depthwise convolutions of words."""


class SseInterleavedByteMicroKernel(SseMicroKernel, InterleavedByteMicroKernel):
    """Depthwise convolutions of bytes in pairs."""


# Cycles of the chips at the edge that have no AVX, by LLVM's model of Silvermont and Goldmont
# (X86ScheduleSLM.td): one load and one multiplication a cycle, the latter two with the PMADDWD of
# a dot product; Goldmont Plus has 24 KiB of first-level cache (Intel 64 Optimization Reference
# Manual).
SSE41 = Sse41MicroKernel(
    name="x86_sse41",
    activation="uint8",
    lanes=(16, 8, 4),
    register_lanes=PART,
    registers=16,
    weight_registers=2,  # even and odd bytes as words
    scratch_registers=3,
    dot_latency=2,  # only the final PADDD's depend on each other
    dots_per_cycle=0.5,
    operand_dots=0.4,
    weight_dots=0.7,
    widening=WordWidening(cycles=0.25, elements=8, scratch_bytes=24 << 10, unrolled=96),
    loop_costs=replace(ZEN4_LOOP, loads_per_cycle=1.0, near_bytes=24 << 10),
)

"""AArch64 with FEAT_I8MM: SMMLA adds a 2×8 times an 8×2 matrix of s8 to 2×2 int32 sums, exactly.

Twice SDOT's products an instruction. The rows of its first operand are two neighbouring pixels,
the columns of its second two output channels, so an accumulator register holds p₀c₀ p₀c₁ p₁c₀ p₁c₁.
What has one pixel at a time goes to SDOT, which every such chip has.
"""

from collections.abc import Sequence

from edgekiln.targets.isa.arm_common import A64MicroKernel, by_register
from edgekiln.targets.isa.arm_dotprod import ARM_DOTPROD, DotprodMicroKernel
from edgekiln.targets.isa.expressions import Expr, llvm, reinterpret, shuffle

PAIR = 2  # pixels of an accumulator register, and channels, too


class I8mmMicroKernel(A64MicroKernel):
    """Accumulators hold two pixels."""

    @property
    def single(self) -> DotprodMicroKernel:
        return ARM_DOTPROD

    def operand(self, pixels: Sequence[Expr], step: int, lanes: int) -> Expr:
        """Return eight bytes of either pixel; the same for all channels."""
        del lanes
        first, second = (reinterpret(pixel, "int64x2") for pixel in pixels)
        return reinterpret(shuffle([first, second], [step, PAIR + step]), "int8x16")

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        def smmla(acc4: Expr, w16: Expr) -> Expr:
            return llvm("llvm.aarch64.neon.smmla.v4i32.v16i8", "int32x4", acc4, a, w16)

        return by_register(smmla, PAIR * lanes, (acc, 4), (w, 16))

    def start(self, sums: Expr, lanes: int) -> Expr:
        # Each sum goes to both pixels: c₀ c₁ c₀ c₁.
        columns = [c + i for c in range(0, lanes, PAIR) for i in (0, 1, 0, 1)]
        return shuffle([sums, sums], columns)

    def finish(self, acc: Expr, lanes: int) -> list[Expr]:
        # The first two lanes of a register are one pixel's, the others the other one's.
        channels = [2 * PAIR * (c // PAIR) + c % PAIR for c in range(lanes)]
        return [shuffle([acc], [PAIR * pixel + at for at in channels]) for pixel in range(PAIR)]


# Cycles by LLVM's model of the Neoverse V1: SMMLA four a cycle, result after 3.
ARM_I8MM = I8mmMicroKernel(
    name="arm_i8mm",
    activation="int8",
    lanes=(16, 8, 4),
    k_step=8,
    x_bytes=16,
    rows=PAIR,
    registers=32,
    register_lanes=4,
    pixel_registers=1,
    scratch_registers=4,
    dot_latency=3,
    dots_per_cycle=4.0,
    operand_dots=0.5,  # ZIP for two pixels
    epilogue_cycles=1.75,
)

"""AArch64 with FEAT_DotProd: SDOT adds four s8·s8 products to each int32 lane, exactly.

Its last operand may be one word of a register, so the sixteen bytes of a pixel that one load brings
serve four steps: LLVM picks this form for a broadcast of a word.
"""

from dataclasses import replace

from edgekiln.targets.isa.arm_common import QUAD, A64MicroKernel, by_register
from edgekiln.targets.isa.expressions import Expr, llvm


class DotprodMicroKernel(A64MicroKernel):
    """Four products a lane and instruction."""

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        def sdot(acc4: Expr, a16: Expr, w16: Expr) -> Expr:
            return llvm("llvm.aarch64.neon.sdot.v4i32.v16i8", "int32x4", acc4, w16, a16)

        return by_register(sdot, lanes, (acc, QUAD), (a, 4 * QUAD), (w, 4 * QUAD))


# Cycles by LLVM's model of the Neoverse N1, the server's Cortex-A76: SDOT two a cycle, result after
# 2. The epilogue's 6 instructions take the same pipes.
ARM_DOTPROD = DotprodMicroKernel(
    name="arm_dotprod",
    activation="int8",
    lanes=(16, 8, 4),
    x_bytes=16,
    registers=32,
    register_lanes=QUAD,
    pixel_registers=1,
    dot_latency=2,
    dots_per_cycle=2.0,
    epilogue_cycles=3.5,
)
# The Cortex-A55 by LLVM's model of it (AArch64SchedA55.td): SDOT one a cycle, result after 4; the
# epilogue's 6 instructions take one of its two pipes each, or both; all in order.
ARM_DOTPROD_A55 = replace(
    ARM_DOTPROD,
    name="arm_dotprod_a55",
    in_order=True,
    dot_latency=4,
    dots_per_cycle=1.0,
    epilogue_cycles=6.0,
)

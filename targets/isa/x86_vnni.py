"""x86 with VNNI: `vpdpbusd` multiplies four u8·s8 pairs and adds them to an int32 lane, exactly."""

from edgekiln.targets.isa.base import Expr, llvm
from edgekiln.targets.isa.x86_common import X86MicroKernel


class VnniMicroKernel(X86MicroKernel):
    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        return self.by_register(_vpdpbusd, lanes, (acc, 1), (a, 4), (w, 4))


def _vpdpbusd(acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
    # LLVM picks the VEX or the EVEX form by the target's features; the intrinsic is the same.
    return llvm(f"llvm.x86.avx512.vpdpbusd.{32 * lanes}", f"int32x{lanes}", acc, a, w)


AVX512_VNNI = VnniMicroKernel(
    name="x86_vnni",
    activation="uint8",
    lanes=(64, 32, 16, 8, 4),
    register_lanes=16,
    depthwise_registers=4,
    registers=32,
    dots_per_cycle=1.0,
)
AVX_VNNI = VnniMicroKernel(
    name="x86_avx_vnni",
    activation="uint8",
    lanes=(32, 16, 8, 4),
    register_lanes=8,
    depthwise_registers=4,
    registers=16,
    dots_per_cycle=2.0,
)

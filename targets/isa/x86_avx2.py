"""x86 with AVX2 and no VNNI.

`vpmaddubsw` would multiply u8 by s8 directly, but it saturates to int16: 2·255·127 does not fit. So
bytes are split into even and odd int16 lanes, and `vpmaddwd`, which is exact, multiplies those.
"""

from edgekiln.targets.isa.base import Expr, llvm
from edgekiln.targets.isa.x86_common import X86MicroKernel


class Avx2MicroKernel(X86MicroKernel):
    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        return self.by_register(_dot, lanes, (acc, 1), (a, 4), (w, 4))


def _dot(acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
    from tvm.script.ir_builder import tirx as T

    words = 2 * lanes
    eight = T.broadcast(T.int16(8), words)
    # The halves of `a` and `w` depend on one operand only: LLVM computes each once per tile.
    a16 = T.reinterpret(f"uint16x{words}", a)
    w16 = T.reinterpret(f"int16x{words}", w)
    a_even = a16 & T.broadcast(T.uint16(0xFF), words)
    a_odd = a16 >> T.Cast(f"uint16x{words}", eight)
    w_even = (w16 << eight) >> eight
    w_odd = w16 >> eight
    name = "llvm.x86.avx2.pmadd.wd" if lanes == 8 else "llvm.x86.sse2.pmadd.wd"
    for a_half, w_half in ((a_even, w_even), (a_odd, w_odd)):
        signed = T.reinterpret(f"int16x{words}", a_half)
        acc = acc + llvm(name, f"int32x{lanes}", signed, w_half)
    return acc


AVX2 = Avx2MicroKernel(
    name="x86_avx2",
    activation="uint8",
    lanes=(32, 16, 8, 4),
    register_lanes=8,
    registers=16,
    weight_registers=2,
    scratch_registers=3,
    dot_latency=2,  # only the final vpaddd's depend on each other
    dots_per_cycle=1.0,  # two vpmaddwd
)

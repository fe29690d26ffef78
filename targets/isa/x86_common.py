"""What x86 micro-kernels share: rounding by cvtps2dq."""

from edgekiln.targets.isa.base import Expr, MicroKernel, llvm


class X86MicroKernel(MicroKernel):
    """Rounds with the processor's own mode (half to even): one instruction instead of two."""

    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        from tvm.script.ir_builder import tirx as T

        if lanes == 16:
            passthru, mask, current_mode = T.broadcast(T.int32(0), 16), T.int16(-1), T.int32(4)
            name = "llvm.x86.avx512.mask.cvtps2dq.512"
            return llvm(name, "int32x16", x, passthru, mask, current_mode)
        if lanes == 8:
            return llvm("llvm.x86.avx.cvt.ps2dq.256", "int32x8", x)
        if lanes == 4:
            return llvm("llvm.x86.sse2.cvtps2dq", "int32x4", x)
        assert lanes == 1, lanes
        return llvm("llvm.x86.sse.cvtss2si", "int32", T.broadcast(x, 4))

"""Armv7E-M's DSP extension: Cortex-M4 and M7. There are no vectors: a lane is a scalar.

SMLAD adds two s16·s16 products to an int32, modulo 2³². SXTB16 widens bytes 0 and 2 of a word to
two s16; bytes 1 and 3 with a rotation by eight, which is free. Bytes of pixels and of weights fall
in pairs the same way, so weights need no order of their own.
"""

from collections.abc import Sequence

from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.codes import Clip
from edgekiln.targets.isa.expressions import Expr, const, llvm, maximum, minimum, reinterpret


class DspMicroKernel(MicroKernel):
    """Two products an instruction, in general registers."""

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        del lanes
        for of_a, of_w in zip(_halves(a), _halves(w), strict=True):
            acc = llvm("llvm.arm.smlad", "int32", of_a, of_w, acc)
        return acc

    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        del lanes
        return round_scalar(x)

    def quantize(
        self, value: Expr, clip: Clip, lanes: int, order: Sequence[int] | None = None
    ) -> Expr:
        """Clipped as an integer: comparing floats takes a detour over their own flags."""
        if not clip.bounded:
            return super().quantize(value, clip, lanes, order)
        whole = llvm("llvm.arm.qadd", "int32", self.round_to_int(value, lanes), clip.zero)
        return self.narrow(minimum(maximum(whole, clip.low), clip.high), lanes)


def round_scalar(x: Expr) -> Expr:
    """Round float32 to int32: VCVTR does as FPSCR says, half to even after reset, and saturates."""
    return reinterpret(llvm("llvm.arm.vcvtr", "float32", x), "int32")


def _halves(bytes_: Expr) -> list[Expr]:
    """Return int8x4 as two words of two s16: bytes 0 and 2, bytes 1 and 3."""
    word = reinterpret(bytes_, "int32")
    turned = llvm("llvm.fshr", "int32", word, word, const(8))
    return [llvm("llvm.arm.sxtb16", "int32", part) for part in (word, turned)]


# Thirteen registers hold everything: sums, two halves of each pixel and of a weight, and where both
# lie. The Cortex-M4 issues one instruction a cycle, so cycles are instructions: two SMLAD a step.
ARM_DSP = DspMicroKernel(
    name="arm_dsp",
    activation="int8",
    lanes=(1,),
    byte_lanes=(),  # loops over bytes become calls of memcpy and memset
    registers=13,
    weight_registers=0,
    pixel_registers=2,
    scratch_registers=5,
    dot_latency=1,
    dots_per_cycle=0.5,
    operand_dots=1.0,  # two SXTB16
    weight_dots=1.0,
    in_order=True,
    epilogue_cycles=14.0,
)

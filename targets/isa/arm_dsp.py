"""Armv7E-M's DSP extension: Cortex-M4, M7 and M33. There are no vectors: a lane is a scalar.

SMLAD adds two s16·s16 products to an int32, modulo 2³². SXTB16 widens bytes 0 and 2 of a word to
two s16; bytes 1 and 3 with a rotation by eight, which is free. Bytes of pixels and of weights fall
in pairs the same way, so weights need no order of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from edgekiln.targets.isa.arm_dsp_loops import product_loop
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.codes import Clip
from edgekiln.targets.isa.costs import LoopCosts
from edgekiln.targets.isa.expressions import (
    Assembly,
    Expr,
    cast,
    const,
    llvm,
    maximum,
    minimum,
    reinterpret,
    shuffle,
)
from edgekiln.targets.isa.halfwords import (
    Half,
    HalfwordUnit,
    RequantizeUnit,
    TileLoop,
    Widening,
)


class DspMicroKernel(MicroKernel):
    """Two products an instruction, in general registers."""

    code_bits: ClassVar[int] = 8  # of a result's code, to which SSAT clips

    @property
    def widened(self) -> MicroKernel | None:
        return _WIDENED

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        del lanes
        for of_a, of_w in zip(halves(a), halves(w), strict=True):
            acc = llvm("llvm.arm.smlad", "int32", of_a, of_w, acc)
        return acc

    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        del lanes
        return round_scalar(x)

    def steps(self, value: Expr, low: Expr, high: Expr, lanes: int) -> Expr:
        """Clipped as an integer: comparing floats takes a detour over their own flags."""
        least, most = cast(low, "int32"), cast(high, "int32")
        return minimum(maximum(self.round_to_int(value, lanes), least), most)

    def quantize(
        self, value: Expr, clip: Clip, lanes: int, order: Sequence[int] | None = None
    ) -> Expr:
        """Clipped as an integer, by SSAT where that is all of a code's range."""
        if not clip.bounded:
            return super().quantize(value, clip, lanes, order)
        whole = llvm("llvm.arm.qadd", "int32", self.round_to_int(value, lanes), clip.zero)
        if clip.saturating:
            whole = llvm("llvm.arm.ssat", "int32", whole, const(self.code_bits))
        else:
            whole = minimum(maximum(whole, clip.low), clip.high)
        return self.narrow(whole, lanes)


class WidenedDspMicroKernel(DspMicroKernel):
    """Multiplies pairs of 16 bits, which lie so in memory."""

    @property
    def widened(self) -> MicroKernel | None:
        return None

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        del lanes
        return llvm("llvm.arm.smlad", "int32", *(reinterpret(x, "int32") for x in (a, w)), acc)

    def operand(self, pixels: Sequence[Expr], step: int, lanes: int) -> Expr:
        del step, lanes  # x_bytes are k_step elements
        return pixels[0]


class DspHalfwords(HalfwordUnit):
    """SMLAD, and SMLABB, SMLABT, SMLATB and SMLATT of one half each."""

    def pair(self, bottom: Expr, top: Expr) -> Expr:
        """Return both as the halves of a word, which is one PKHBT."""
        return _bottoms(bottom, top)

    def dot(self, acc: Expr, word: Expr, weights: Expr, halves: tuple[Half, Half] | None) -> Expr:
        name = "smlad" if halves is None else "smla" + "".join(half[0] for half in halves)
        return llvm(f"llvm.arm.{name}", "int32", word, reinterpret(weights, "int32"), acc)


@dataclass(frozen=True, kw_only=True)
class DspWidening(Widening):
    """Four codes at once, of a word.

    Args:
        dual_issue: the core issues a load and a product in one cycle.
    """

    dual_issue: bool = False

    def widen(self, codes: Expr) -> Expr:
        even, odd = halves(codes)
        # PKHTB takes two top halves, as PKHBT two bottom ones.
        tops = (odd & const(-0x10000)) | ((even >> const(16)) & const(0xFFFF))
        return reinterpret(shuffle([_bottoms(even, odd), tops], range(2)), "int16", 4)

    def split(self, codes: Expr) -> Expr:
        return reinterpret(shuffle(halves(codes), range(2)), "int16", 4)

    def loop(self, tile: TileLoop) -> Assembly | None:
        return product_loop(tile, dual_issue=self.dual_issue)


class DspRequantize(RequantizeUnit):
    """SMMLA, and SSAT of what was shifted on its way."""

    def codes(self, acc: Expr, factor: Expr, start: Expr, shift: int, lanes: int) -> Expr:
        del lanes
        product = cast(acc, "int64") * cast(factor, "int64")
        whole = start + cast(product >> const(32, "int64"), "int32")
        return cast(llvm("llvm.arm.ssat", "int32", whole >> const(shift), const(8)), "int8")


def _bottoms(bottom: Expr, top: Expr) -> Expr:
    return (bottom & const(0xFFFF)) | (top << const(16))


def round_scalar(x: Expr) -> Expr:
    """Round float32 to int32: VCVTR does as FPSCR says, half to even after reset, and saturates."""
    return reinterpret(llvm("llvm.arm.vcvtr", "float32", x), "int32")


def halves(bytes_: Expr) -> list[Expr]:
    """Return int8x4 as two words of two s16: bytes 0 and 2, bytes 1 and 3."""
    word = reinterpret(bytes_, "int32")
    turned = llvm("llvm.fshr", "int32", word, word, const(8))
    return [llvm("llvm.arm.sxtb16", "int32", part) for part in (word, turned)]


_WIDENING = DspWidening(
    cycles=1.5, elements=4, scratch_bytes=5120, unrolled=24, repeats=4, split_order=(0, 2, 1, 3)
)

# Thirteen registers hold everything: sums, two halves of each pixel and of a weight, and where both
# lie. The Cortex-M4 issues one instruction a cycle, so cycles are instructions: two SMLAD a step.
ARM_DSP = DspMicroKernel(
    name="arm_dsp",
    activation="int8",
    lanes=(1,),
    byte_lanes=(),  # loops over bytes become calls of memcpy and memset
    registers=13,
    weight_registers=1,
    pixel_registers=2,
    scratch_registers=3,
    dot_latency=1,
    dots_per_cycle=0.5,
    operand_dots=1.0,  # two SXTB16
    weight_dots=1.0,
    in_order=True,
    epilogue_cycles=5.0,
    depthwise_rows=2,
    halfwords=DspHalfwords(),
    widening=_WIDENING,
    requantizes=DspRequantize(),
)
# The Cortex-M7 issues two instructions a cycle: the other order of the same ones.
ARM_DSP_M7 = replace(ARM_DSP, name="arm_dsp_m7", widening=replace(_WIDENING, dual_issue=True))

# One SMLAD a step; beside sums and weights a pixel, three addresses or counters.
_WIDENED = WidenedDspMicroKernel(
    name="arm_dsp",
    activation="int16",
    lanes=(1,),
    byte_lanes=(),
    k_step=2,
    x_bytes=2,
    registers=14,
    weight_registers=1,
    scratch_registers=6,
    dot_latency=1,
    in_order=True,
    epilogue_cycles=5.0,
    loop_costs=LoopCosts(tile_cycles=16.0, loads_per_cycle=1.0),
)

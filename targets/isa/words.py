"""Codes of 16 bits on every instruction set, times weights of 8: what `for_words` chooses.

Where `MicroKernel` speaks of bytes, these count elements. Sums are exact modulo 2³², and whoever
asks for them knows that they do not leave it: see `passes.words`.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

from edgekiln.targets.isa.arm_common import A64MicroKernel, ArmMicroKernel
from edgekiln.targets.isa.arm_dotprod import ARM_DOTPROD, ARM_DOTPROD_A55
from edgekiln.targets.isa.arm_dsp import ARM_DSP, WidenedDspMicroKernel, halves
from edgekiln.targets.isa.arm_mve import ARM_MVE, MveMicroKernel
from edgekiln.targets.isa.arm_neon import ARM_NEON, ARMV7_NEON
from edgekiln.targets.isa.arm_v6m import ARM_V6M, ThumbMicroKernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.codes import Clip, Floats
from edgekiln.targets.isa.expressions import (
    Expr,
    cast,
    const,
    llvm,
    reinterpret,
    shuffle,
    splat,
)
from edgekiln.targets.isa.generic import GenericMicroKernel, round_by_adding
from edgekiln.targets.isa.riscv_rvv import RVV, RvvMicroKernel
from edgekiln.targets.isa.x86_avx2 import AVX2
from edgekiln.targets.isa.x86_common import PairMicroKernel
from edgekiln.targets.isa.x86_sse41 import SSE41, SseMicroKernel
from edgekiln.targets.isa.x86_vnni import AVX512_VNNI, AVX_VNNI, ZEN5, VnniPairMicroKernel
from edgekiln.targets.isa.x86_words import WordPairMicroKernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class WordMultiplier(MicroKernel):
    """Codes of 16 bits, whose conversions need none of what narrows to bytes."""

    def floats(self, x: Expr, lanes: int) -> Floats:
        return MicroKernel.floats(self, x, lanes)

    def quantize(
        self, value: Expr, clip: Clip, lanes: int, order: Sequence[int] | None = None
    ) -> Expr:
        return MicroKernel.quantize(self, value, clip, lanes, order)

    def arrange(self, weights: "NDArray[np.generic]") -> "NDArray[np.generic]":
        """Widened, for no instruction multiplies 16 bits by 8."""
        return weights.astype("int16")


class X86Words(WordMultiplier, PairMicroKernel):
    """Two words a lane, of neighbouring channels."""

    def interleave(self, rows: Sequence[Expr], lanes: int) -> Expr:
        """Interleave one row or two. The lanes stay in order: PUNPCKLWD or VPERMT2W does that."""
        zero = splat(const(0, "int16"), lanes)
        first, second, *_ = *rows, zero
        places = chain(*((lane, lanes + lane) for lane in range(lanes)))
        return shuffle([first, second], [*places])

    def interleaved(self, lanes: int) -> Sequence[int] | None:
        del lanes
        return None


class VnniWords(X86Words, VnniPairMicroKernel):
    """VPDPWSSD adds both products of a lane to its sum."""


class PmaddWords(X86Words, WordPairMicroKernel):
    """PMADDWD adds both products of a lane, PADDD them to its sum."""


class SseWords(SseMicroKernel, PmaddWords):
    """The same without AVX and FMA."""


class ScalarWords(WordMultiplier):
    """One product a lane, widened: of a vector of weights and one code, or of as many channels."""

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        return acc + cast(a, "int32", lanes) * cast(w, "int32", lanes)

    def operand(self, pixels: Sequence[Expr], step: int, lanes: int) -> Expr:
        (pixel,) = pixels
        return splat(pixel if self.x_bytes == 1 else shuffle([pixel], [step]), lanes)


class A64Words(ScalarWords, A64MicroKernel):
    """SMLAL takes its factor from a lane of a register: one load brings it for eight steps."""


class DotprodWords(WordMultiplier, A64MicroKernel):
    """SDOT on the upper bytes of codes, and on the lower ones less 128, so that both have signs:
    a sum is 256·Σ h·w + Σ l·w of codes that are 128 too small. Weights stay bytes.
    """

    @property
    def depthwise(self) -> MicroKernel:
        return ARM

    def arrange(self, weights: "NDArray[np.generic]") -> "NDArray[np.generic]":
        return weights

    def operand(self, pixels: Sequence[Expr], step: int, lanes: int) -> Expr:
        """Return a word of lower bytes for every lane, and then one of upper bytes."""
        (pixel,) = pixels
        half = self.x_bytes
        both = reinterpret(pixel, "int8", 2 * half)
        low, high = (shuffle([both], range(first, 2 * half, 2)) for first in (0, 1))
        words = (reinterpret(x, "int32", half // 4) for x in (_without_sign(low, half), high))
        every = [splat(shuffle([word], [step]), lanes) for word in words]
        return reinterpret(shuffle(every, range(2 * lanes)), "int8", 8 * lanes)

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        found = []
        for part in (0, 1):
            own = shuffle([acc], range(part * lanes, (part + 1) * lanes))
            codes = shuffle([a], range(part * 4 * lanes, (part + 1) * 4 * lanes))
            found.append(ARM_DOTPROD.dot(own, codes, w, lanes))
        return shuffle(found, range(2 * lanes))

    def start(self, sums: Expr, lanes: int) -> Expr:
        return shuffle([sums, splat(const(0), lanes)], range(2 * lanes))

    def finish(self, acc: Expr, lanes: int) -> list[Expr]:
        low, high = (shuffle([acc], range(at, at + lanes)) for at in (0, lanes))
        return [low + (high << splat(const(8), lanes))]


def _without_sign(low: Expr, lanes: int) -> Expr:
    """Lower bytes less 128: their top bit says so of what has no sign."""
    return low ^ splat(const(-128, "int8"), lanes)


class Armv7Words(ScalarWords, ArmMicroKernel):
    """VMLAL, with a lane of half a register."""

    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        return round_by_adding(x, lanes)


class RvvWords(ScalarWords, RvvMicroKernel):
    """VWMACC takes its factor from a scalar register."""

    @property
    def products(self) -> MicroKernel:
        return self

    @property
    def depthwise(self) -> MicroKernel:
        return self


class GenericWords(ScalarWords, GenericMicroKernel):
    """Whatever LLVM makes of products."""


class DspWords(WidenedDspMicroKernel):
    """SMLAD on pairs that lie so in memory; SXTB16 widens the weights, whose order makes pairs of
    neighbours of its results: bytes 0 and 2, bytes 1 and 3.
    """

    code_bits: ClassVar[int] = 16

    def arrange(self, weights: "NDArray[np.generic]") -> "NDArray[np.generic]":
        return weights[..., [0, 2, 1, 3]]

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        del lanes
        pairs = reinterpret(a, "int32", 2)
        for at, weights in enumerate(halves(w)):
            acc = llvm("llvm.arm.smlad", "int32", shuffle([pairs], [at]), weights, acc)
        return acc


class ThumbWords(WordMultiplier, ThumbMicroKernel):
    """One product a lane: LDRSH widens."""

    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        return ThumbMicroKernel.round_to_int(self, x, lanes)


class MveWords(ScalarWords, MveMicroKernel):
    """Four int32 lanes, for all that makes no matrices: loads widen."""

    @property
    def products(self) -> MicroKernel:
        return _MVE_PRODUCTS

    def arrange(self, weights: "NDArray[np.generic]") -> "NDArray[np.generic]":
        return weights


class MveWordProducts(WordMultiplier, MveMicroKernel):
    """Scalar sums of eight products an instruction, VMLADAVA.S16; VLDRB widens weights."""

    def arrange(self, weights: "NDArray[np.generic]") -> "NDArray[np.generic]":
        return weights

    def operand(self, pixels: Sequence[Expr], step: int, lanes: int) -> Expr:
        del step, lanes  # x_bytes are k_step elements
        return pixels[0]

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        del lanes
        signed = subtract = exchange = const(0)
        wide = cast(w, "int16", self.k_step)
        name = "llvm.arm.mve.vmldava"
        return llvm(name, "int32", signed, subtract, exchange, acc, a, wide)


# A pixel's two words are in every lane by one load; as many products as bytes have instructions
# take two, and there are half as many in each.
X86_AVX512 = replace(
    VnniWords.of(AVX512_VNNI), name="x86_avx512_w16", lanes=(32, 16, 8, 4), depthwise_registers=2,
    epilogue_cycles=4.0,
)  # fmt: skip
X86_ZEN5 = replace(
    X86_AVX512, name="x86_zen5_w16", dots_per_cycle=ZEN5.dots_per_cycle, loop_costs=ZEN5.loop_costs
)
X86_AVX_VNNI = replace(
    VnniWords.of(AVX_VNNI), name="x86_avx_vnni_w16", lanes=(16, 8, 4), epilogue_cycles=4.0
)
X86_AVX2 = replace(
    PmaddWords.of(AVX2, dots_per_cycle=2.0), name="x86_avx2_w16", lanes=(16, 8, 4),
    scratch_registers=2, dot_latency=1, epilogue_cycles=4.0,
)  # fmt: skip
X86_SSE41 = replace(
    SseWords.of(SSE41, dots_per_cycle=1.0), name="x86_sse41_w16", lanes=(8, 4),
    scratch_registers=2, dot_latency=1, loop_costs=SSE41.loop_costs, epilogue_cycles=4.0,
)  # fmt: skip
# SMLAL takes one pipe of the Cortex-A76, one of two; four products each.
ARM = A64Words(
    name="arm_w16", activation="int16", lanes=(16, 8, 4), k_step=1, x_bytes=8, registers=32,
    register_lanes=ARM_NEON.register_lanes, pixel_registers=1, dot_latency=4, in_order=True,
    epilogue_cycles=3.5,
)  # fmt: skip
# Two SDOT for four products a lane, and what parts the bytes of a pixel, for four steps.
ARM_DOTPROD_WORDS = DotprodWords(
    name="arm_dotprod_w16", activation="int16", lanes=ARM_DOTPROD.lanes, x_bytes=16, parts=2,
    offset=128, registers=32, register_lanes=ARM_DOTPROD.register_lanes, pixel_registers=2,
    scratch_registers=2, dot_latency=ARM_DOTPROD.dot_latency,
    dots_per_cycle=ARM_DOTPROD.dots_per_cycle / 2, operand_dots=0.4,
    epilogue_cycles=ARM_DOTPROD.epilogue_cycles + 1.0,
)  # fmt: skip
ARM_A55_WORDS = replace(
    ARM_DOTPROD_WORDS, name="arm_dotprod_a55_w16", in_order=True,
    dot_latency=ARM_DOTPROD_A55.dot_latency, dots_per_cycle=ARM_DOTPROD_A55.dots_per_cycle / 2,
    epilogue_cycles=ARM_DOTPROD_A55.epilogue_cycles + 1.0,
)  # fmt: skip
ARMV7 = Armv7Words(
    name="armv7_w16", activation="int16", lanes=(8, 4), k_step=1, x_bytes=4, registers=16,
    register_lanes=ARMV7_NEON.register_lanes, pixel_registers=1, dot_latency=8,
    dots_per_cycle=0.5, in_order=True, epilogue_cycles=16.0,
)  # fmt: skip
RISCV = RvvWords(
    name="riscv_rvv_w16", activation="int16", lanes=(16, 8, 4), k_step=1, x_bytes=1,
    registers=32, register_lanes=RVV.register_lanes, in_order=True, loop_costs=RVV.loop_costs,
)  # fmt: skip
GENERIC = GenericWords(
    name="generic_w16", activation="int16", lanes=(4,), k_step=1, x_bytes=1, registers=16
)
# Two SMLAD and two SXTB16 for four products: of bytes pixels are widened, too.
ARM_DSP_WORDS = replace(
    DspWords(**vars(ARM_DSP)), name="arm_dsp_w16", activation="int16", x_bytes=4, operand_dots=0.0,
    widening=None, requantizes=None,
)  # fmt: skip
ARM_V6M_WORDS = replace(
    ThumbWords(**vars(ARM_V6M)),
    name="arm_v6m_w16",
    activation="int16",
    k_step=1,
    x_bytes=1,
    dots_per_cycle=0.5,
    widening=None,
    requantizes=None,
)
ARM_MVE_WORDS = MveWords(
    name="arm_mve_w16", activation="int16", lanes=ARM_MVE.lanes, byte_lanes=(8, 4), k_step=1,
    x_bytes=1, registers=8, depthwise_registers=1, dot_latency=2, dots_per_cycle=0.5,
    in_order=True, epilogue_cycles=16.0,
)  # fmt: skip
_MVE_PRODUCTS = MveWordProducts(
    name="arm_mve_w16", activation="int16", lanes=(1,), byte_lanes=(8, 4), k_step=8, joins=4,
    x_bytes=8, registers=8, weight_registers=0, scratch_registers=0, dot_latency=2,
    dots_per_cycle=0.5, epilogue_cycles=14.0,
)  # fmt: skip

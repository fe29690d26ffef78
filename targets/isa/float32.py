"""float32 on every instruction set: a lane takes one product at a time, by a fused multiply-add
where there is one.

Where `MicroKernel` speaks of bytes, these count elements.
"""

from collections.abc import Sequence
from typing import ClassVar

from edgekiln.targets.isa.arm_common import QUAD, A64MicroKernel, ArmMicroKernel
from edgekiln.targets.isa.arm_v6m import ARM_V6M, ThumbMicroKernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, shuffle, splat
from edgekiln.targets.isa.generic import GenericMicroKernel, round_by_adding
from edgekiln.targets.isa.riscv_rvv import RvvMicroKernel
from edgekiln.targets.isa.x86_common import PART, X86MicroKernel
from edgekiln.targets.isa.x86_sse41 import SSE41, SseMicroKernel


class Float32MicroKernel(MicroKernel):
    """Sums are float32, and a dot product is a multiply-add."""

    @property
    def accumulator(self) -> str:
        return "float32"

    def widen(self, x: Expr, lanes: int) -> Expr:
        del lanes
        return x

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        return self.fma(a, w, acc, lanes)

    def operand(self, pixels: Sequence[Expr], step: int, lanes: int) -> Expr:
        (pixel,) = pixels
        return splat(pixel if self.x_bytes == 1 else shuffle([pixel], [step]), lanes)


class X86Float32(Float32MicroKernel, X86MicroKernel):
    """Takes its factor from memory, into every lane."""

    @property
    def filtering(self) -> MicroKernel:
        return self


class SseFloat32(SseMicroKernel, X86Float32):
    """A product is rounded, and then the sum: floats are no codes, and one rounding would cost
    thirty instructions. Where functions count on it, `fma` has it still.
    """

    fuses: ClassVar[bool] = False

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        del lanes
        return acc + a * w


class A64Float32(Float32MicroKernel, A64MicroKernel):
    """FMLA takes its factor from a lane of a register: one load brings it for four steps."""


class Armv7Float32(Float32MicroKernel, ArmMicroKernel):
    """VFMA has no such form: VLD1 loads one element into every lane."""

    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        return round_by_adding(x, lanes)


class RvvFloat32(Float32MicroKernel, RvvMicroKernel):
    """VFMACC takes its factor from a scalar register."""

    @property
    def products(self) -> MicroKernel:
        return self

    @property
    def depthwise(self) -> MicroKernel:
        return self


class GenericFloat32(Float32MicroKernel, GenericMicroKernel):
    """Whatever LLVM makes of multiply-adds."""


class SoftFloat32(Float32MicroKernel, ThumbMicroKernel):
    """A product is rounded, and then the sum, as on x86 without FMA: one rounding takes 100 more
    instructions. Where functions count on it, `fma` has it still.
    """

    fuses: ClassVar[bool] = False

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        del lanes
        return acc + a * w


# Zen 4 (Agner Fog's tables): an FMA of 512 bits a cycle or two of 256, results after 4.
AVX512 = X86Float32(
    name="x86_avx512_f32",
    activation="float32",
    lanes=(16, 8, 4),
    k_step=1,
    x_bytes=1,
    registers=32,
    dot_latency=4,
    epilogue_cycles=2.0,
)
AVX2 = X86Float32(
    name="x86_fma_f32",
    activation="float32",
    lanes=(8, 4),
    k_step=1,
    x_bytes=1,
    registers=16,
    dot_latency=4,
    dots_per_cycle=2.0,
    epilogue_cycles=2.0,
)
# As for codes: one multiplication a cycle, and its result after 5, a sum's after 3.
SSE = SseFloat32(
    name="x86_sse_f32",
    activation="float32",
    lanes=(8, 4),
    register_lanes=PART,
    k_step=1,
    x_bytes=1,
    registers=16,
    dot_latency=3,
    loop_costs=SSE41.loop_costs,
    epilogue_cycles=2.0,
)
# Cortex-A76's optimization guide: FMLA two a cycle, and after 4, or 2 from one to the next.
NEON = A64Float32(
    name="arm_f32",
    activation="float32",
    lanes=(16, 8, 4),
    k_step=1,
    x_bytes=QUAD,
    registers=32,
    register_lanes=QUAD,
    pixel_registers=1,
    dot_latency=4,
    dots_per_cycle=2.0,
    epilogue_cycles=2.0,
)
# The Cortex-A7 has pipes of 64 bits: two cycles for each instruction.
ARMV7 = Armv7Float32(
    name="armv7_f32",
    activation="float32",
    lanes=(8, 4),
    k_step=1,
    x_bytes=1,
    registers=16,
    register_lanes=QUAD,
    dot_latency=8,
    dots_per_cycle=0.5,
    epilogue_cycles=4.0,
)
# As for codes: nobody has measured these.
RVV = RvvFloat32(
    name="riscv_rvv_f32",
    activation="float32",
    lanes=(16, 8, 4),
    k_step=1,
    x_bytes=1,
    registers=32,
    register_lanes=4,
    dot_latency=4,
    in_order=True,
)
GENERIC = GenericFloat32(
    name="generic_f32",
    activation="float32",
    lanes=(4,),
    k_step=1,
    x_bytes=1,
    registers=16,
    dot_latency=4,
)
# Every product and every sum is a call, of some fifty and eighty instructions.
SOFT = SoftFloat32(
    name="soft_f32",
    activation="float32",
    lanes=(1,),
    byte_lanes=(),
    k_step=1,
    x_bytes=1,
    registers=10,
    pixel_registers=1,
    scratch_registers=4,
    dot_latency=1,
    dots_per_cycle=1 / 130,
    in_order=True,
    epilogue_cycles=300.0,
    loop_costs=ARM_V6M.loop_costs,
)

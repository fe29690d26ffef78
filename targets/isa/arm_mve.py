"""Armv8.1-M's vector extension (MVE, Helium): Cortex-M55.

VMLADAVA multiplies sixteen s8·s8 pairs and adds them all to one int32 in a general register,
modulo 2³². So a matrix product has scalar sums, one for each pixel and channel; everything else
works on four int32 lanes. There a byte lane is what VLDRB widens while it loads: the factors of a
dot product lie row by row, the first of every lane, the second of every lane, and so on.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from edgekiln.targets.isa.arm_dsp import DspRequantize, round_scalar
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Expr,
    cast,
    const,
    llvm,
    reinterpret,
    shuffle,
    splat,
    vector,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

QUAD = 4  # int32 lanes of a register


class MveMicroKernel(MicroKernel):
    """A scalar is a vector of one lane, in the registers of the floating-point unit."""

    interleaves: ClassVar[bool] = False  # but VST2 and VST4, on their way to memory

    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        """VCVTN rounds half to even and saturates."""
        if lanes == 1:
            return round_scalar(x)
        return llvm("llvm.arm.mve.vcvtn", vector("int32", lanes), const(0), x)

    def clamp(self, value: Expr, low: Expr, high: Expr, lanes: int) -> Expr:
        """VMAXNM and VMINNM return the number when the other one is NaN."""
        dtype = vector("float32", lanes)
        value = llvm("llvm.maxnum", dtype, value, splat(low, lanes))
        return llvm("llvm.minnum", dtype, value, splat(high, lanes))


class MveVectors(MveMicroKernel):
    """Four int32 lanes, for all that makes no matrices."""

    @property
    def products(self) -> MicroKernel:
        return _PRODUCTS

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        for start in range(0, 4 * lanes, lanes):
            row = range(start, start + lanes)
            acc = acc + self.widen(shuffle([a], row), lanes) * self.widen(shuffle([w], row), lanes)
        return acc

    def operand(self, pixels: Sequence[Expr], step: int, lanes: int) -> Expr:
        del step  # x_bytes are k_step bytes
        return shuffle([pixels[0]] * lanes, [byte for byte in range(4) for _ in range(lanes)])

    def interleave(self, rows: Sequence[Expr], lanes: int) -> Expr:
        zero = splat(const(0, "int8"), lanes)
        return shuffle([*rows, *[zero] * (4 - len(rows))], range(4 * lanes))

    def arrange(self, weights: "NDArray[np.generic]") -> "NDArray[np.generic]":
        return weights.swapaxes(-1, -2).reshape(weights.shape)


class MveProducts(MveMicroKernel):
    """Scalar sums of sixteen products an instruction."""

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        del lanes
        signed = subtract = exchange = const(0)
        return llvm("llvm.arm.mve.vmldava", "int32", signed, subtract, exchange, acc, a, w)

    def operand(self, pixels: Sequence[Expr], step: int, lanes: int) -> Expr:
        del step, lanes  # x_bytes are k_step bytes
        return pixels[0]


class MveRequantize(DspRequantize):
    """VMULH, VADD, and two narrowings that saturate, the first of which shifts."""

    def codes(self, acc: Expr, factor: Expr, start: Expr, shift: int, lanes: int) -> Expr:
        if lanes == 1:
            return super().codes(acc, factor, start, shift, lanes)
        off = const(0)
        high = llvm("llvm.arm.mve.vmulh", vector("int32", lanes), acc, factor, off)
        whole = high + splat(start, lanes)
        # Each narrowing fills the lower half of every element; the upper ones are never looked at.
        half = llvm(
            "llvm.arm.mve.vshrn", "int16x8", reinterpret(whole, "int16", 8), whole, const(shift),
            const(1), off, off, off, off,
        )  # fmt: skip
        byte = llvm(
            "llvm.arm.mve.vqmovn", "int8x16", reinterpret(half, "int8", 16), half, off, off, off
        )
        return cast(reinterpret(byte, "int32", lanes), "int8", lanes)


# Cycles by Arm's Cortex-M55 optimization guide: an instruction on a vector takes two, and loads
# overlap with multiplications.
ARM_MVE = MveVectors(
    name="arm_mve",
    activation="int8",
    lanes=(QUAD,),
    byte_lanes=(16, 8, 4),
    registers=8,
    depthwise_registers=1,
    dot_latency=8,
    dots_per_cycle=0.125,
    in_order=True,
    epilogue_cycles=16.0,
    requantizes=MveRequantize(),
)
# Sums are in even general registers, of which there are eight.
_PRODUCTS = MveProducts(
    name="arm_mve",
    activation="int8",
    lanes=(1,),
    byte_lanes=(16, 8, 4),
    k_step=16,
    joins=QUAD,
    x_bytes=16,
    registers=8,
    weight_registers=0,
    scratch_registers=0,
    dot_latency=2,
    dots_per_cycle=0.5,
    epilogue_cycles=14.0,
)

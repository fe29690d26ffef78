"""Arm's Advanced SIMD without dot products: Cortex-A53, A72 (AArch64) and A7 (ARMv7).

SMULL multiplies eight s8·s8 pairs to int16: at most 2¹⁴, so it is exact. Two of these may not fit
int16 (2·(-128)² = 2¹⁵), so products are never added there: SADALP adds neighbouring ones to an
int32 lane, exactly. A lane's first two bytes and its last two go to different multiplications, so
both operands come in this order: the first two bytes of up to eight lanes, then their last two.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from edgekiln.targets.isa.arm_common import (
    QUAD,
    A64MicroKernel,
    ArmMicroKernel,
    by_register,
    zipped,
)
from edgekiln.targets.isa.codes import Clip
from edgekiln.targets.isa.expressions import Expr, cast, inverse, llvm, reinterpret, shuffle, splat
from edgekiln.targets.isa.generic import round_by_adding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP = 8  # lanes whose bytes are in order of pairs: two of them fill a register


class _WideningMicroKernel(ArmMicroKernel):
    """Multiplies bytes to words, and adds pairs of words to int32."""

    def _multiply(self, a: Expr, w: Expr) -> Expr:
        """Return the int16x8 products of two int8x8."""
        raise NotImplementedError

    def _add_pairs(self, acc: Expr, products: Expr) -> Expr:
        """Return int32x4 `acc` plus the sums of neighbours of int16x8 `products`."""
        raise NotImplementedError

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        # A register of sums for each four lanes.
        sums = [shuffle([acc], range(i, i + QUAD)) for i in range(0, lanes, QUAD)]
        group = min(lanes, GROUP)
        for start in range(0, 4 * lanes, 2 * QUAD):
            bytes_ = range(start, start + 2 * QUAD)
            products = self._multiply(shuffle([a], bytes_), shuffle([w], bytes_))
            # Half of a group's bytes belong to all of its lanes, two bytes each.
            lane = start // (4 * group) * group + start % (2 * group) // 2
            sums[lane // QUAD] = self._add_pairs(sums[lane // QUAD], products)
        return shuffle(sums, range(lanes))

    def operand(self, pixels: Sequence[Expr], step: int, lanes: int) -> Expr:
        group = min(lanes, GROUP)
        pairs = reinterpret(pixels[0], f"int16x{self.x_bytes // 2}")
        both = [splat(shuffle([pairs], [2 * step + half]), group) for half in (0, 1)]
        words = shuffle(both * (lanes // group), range(2 * lanes))
        return reinterpret(words, f"int8x{4 * lanes}")

    def interleave(self, rows: Sequence[Expr], lanes: int) -> Expr:
        pairs = [zipped(*pair, lanes) for pair in self.row_pairs(rows, lanes)]
        group = 2 * min(lanes, GROUP)
        places = [
            half * 2 * lanes + start + i
            for start in range(0, 2 * lanes, group)
            for half in (0, 1)
            for i in range(group)
        ]
        return shuffle(pairs, places)

    def arrange(self, weights: "NDArray[np.generic]") -> "NDArray[np.generic]":
        *outer, lanes, k_step = weights.shape
        group = min(lanes, GROUP)
        pairs = weights.reshape(*outer, lanes // group, group, 2, 2)
        return pairs.swapaxes(-2, -3).reshape(*outer, lanes, k_step)


class NeonMicroKernel(A64MicroKernel, _WideningMicroKernel):
    """AArch64, which has NEON always."""

    def _multiply(self, a: Expr, w: Expr) -> Expr:
        return llvm("llvm.aarch64.neon.smull.v8i16", "int16x8", a, w)

    def _add_pairs(self, acc: Expr, products: Expr) -> Expr:
        return acc + llvm("llvm.aarch64.neon.saddlp.v4i32.v8i16", "int32x4", products)


class Armv7MicroKernel(_WideningMicroKernel):
    """ARMv7, which has no conversion that rounds."""

    def _multiply(self, a: Expr, w: Expr) -> Expr:
        return llvm("llvm.arm.neon.vmulls.v8i16", "int16x8", a, w)

    def _add_pairs(self, acc: Expr, products: Expr) -> Expr:
        return llvm("llvm.arm.neon.vpadals.v4i32.v8i16", "int32x4", acc, products)

    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        return round_by_adding(x, lanes)  # ARMv7's VCVT only truncates

    def quantize(
        self, value: Expr, clip: Clip, lanes: int, order: Sequence[int] | None = None
    ) -> Expr:
        """VMAX and VMIN keep NaN, so they clip only where there is none."""
        if lanes == 1 or not clip.bounded:
            return super().quantize(value, clip, lanes, order)
        for name, bound in (("vmaxs", clip.low_steps), ("vmins", clip.high_steps)):
            intrinsic = partial(llvm, f"llvm.arm.neon.{name}.v4f32", "float32x4")
            bounds = splat(bound, lanes)
            value = by_register(intrinsic, lanes, (value, QUAD), (bounds, QUAD))
        codes = self.narrow(self.round_to_int(value, lanes), lanes)
        codes = codes + splat(cast(clip.zero, "int8"), lanes)  # each wraps, their sum is right
        return codes if order is None else shuffle([codes], inverse(order))


# Cycles by LLVM's model of the Cortex-A72: SMULL one a cycle, SADALP one a cycle on the other pipe
# and its result to the next one after 1.
ARM_NEON = NeonMicroKernel(
    name="arm_neon",
    activation="int8",
    lanes=(16, 8, 4),
    x_bytes=8,
    registers=32,
    register_lanes=QUAD,
    pixel_registers=1,
    scratch_registers=4,
    dot_latency=2,
    dots_per_cycle=0.5,
    operand_dots=0.5,  # two DUP, beside two SMULL and two SADALP
    in_order=True,  # the Cortex-A53; it does not harm the A72
    epilogue_cycles=3.5,
)
# The Cortex-A7 has pipes of 64 bits, so we take two cycles for each of these instructions; LLVM has
# no model of it.
ARMV7_NEON = Armv7MicroKernel(
    name="armv7_neon",
    activation="int8",
    lanes=(8, 4),
    x_bytes=8,
    registers=16,
    register_lanes=QUAD,
    pixel_registers=1,
    scratch_registers=5,
    dot_latency=8,
    dots_per_cycle=0.125,
    operand_dots=0.5,
    in_order=True,
    epilogue_cycles=16.0,
)

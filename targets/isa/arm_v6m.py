"""Armv6-M: Cortex-M0 and M0+. One product of 32 bits an instruction, and no instruction for floats.

MULS keeps the lower half of a product; the upper half, which codes are made of, is summed up from
products of 16 bits. Functions compute floats: the compiler's own, and `runtime/c/soft_float.c`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from edgekiln.targets.isa.arm_v6m_loops import product_loop
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
from edgekiln.targets.isa.halfwords import RequantizeUnit, TileLoop, Widening

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ThumbMicroKernel(MicroKernel):
    """Products one by one, in general registers: bytes may lie anywhere, but not words."""

    @property
    def widened(self) -> MicroKernel | None:
        return _WIDENED if self.widening else None

    @property
    def depthwise(self) -> MicroKernel:
        """The form of single bytes: to join those of four rows takes longer than to multiply."""
        return replace(self, k_step=1, x_bytes=1)

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        del lanes
        for at in range(self.k_step):
            of_a, of_w = (x if self.k_step == 1 else shuffle([x], [at]) for x in (a, w))
            acc = acc + cast(of_a, "int32") * cast(of_w, "int32")
        return acc

    def operand(self, pixels: Sequence[Expr], step: int, lanes: int) -> Expr:
        del step, lanes  # x_bytes are k_step elements
        return pixels[0]

    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        del lanes
        return llvm("llvm.lrint", "int32", x)

    def quantize(
        self, value: Expr, clip: Clip, lanes: int, order: Sequence[int] | None = None
    ) -> Expr:
        """Clipped as an integer: to compare floats takes a call."""
        if not clip.bounded:
            return super().quantize(value, clip, lanes, order)
        whole = self.round_to_int(value, lanes)
        # Below 2³¹, but not with the zero point: steps are clipped.
        low, high = clip.low - clip.zero, clip.high - clip.zero
        return self.narrow(minimum(maximum(whole, low), high) + clip.zero, lanes)


class WidenedThumbMicroKernel(ThumbMicroKernel):
    """Two products of 16 bits in one of 32, see `arm_v6m_loops`, whose loops alone do that."""

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        raise NotImplementedError

    def arrange(self, weights: "NDArray[np.generic]") -> "NDArray[np.generic]":
        """The first weight of a pair is the upper half, less 1 where the lower one is negative."""
        upper, lower = (weights[..., at].astype("int16") for at in (0, 1))
        arranged: NDArray[np.generic] = weights.astype("int16")
        arranged[..., 0], arranged[..., 1] = lower, upper - (lower < 0)
        return arranged


class ThumbWidening(Widening):
    """Four codes at once, of a word where they lie so."""

    def widen(self, codes: Expr) -> Expr:
        return cast(codes, "int16", self.elements)

    def split(self, codes: Expr) -> Expr:
        """Return bytes 0 and 2, then 1 and 3, as two words that are their sums, one 2¹⁶ times."""
        word = reinterpret(codes, "int32")
        both = (word, cast(cast(word, "uint32") >> const(8, "uint32"), "int32"))
        bytes_, signs = const(0x00FF00FF), const(0x00800080)
        # Of each byte with its sign turned, 128 is taken: modulo 2³² this carries as sums do.
        sums = [((each & bytes_) ^ signs) - signs for each in both]
        return reinterpret(shuffle(sums, range(2)), "int16", self.elements)

    def loop(self, tile: TileLoop) -> Assembly | None:
        return product_loop(tile)


class ThumbRequantize(RequantizeUnit):
    """Four MULS, and comparisons where other chips have SSAT; sums of codes would take calls."""

    adds: ClassVar[bool] = True

    def codes(self, acc: Expr, factor: Expr, start: Expr, shift: int, lanes: int) -> Expr:
        del lanes
        return _saturated((start + upper_half(acc, factor)) >> const(shift))

    def sum_codes(
        self, steps: tuple[Expr, Expr], factors: tuple[Expr, Expr], start: Expr, shift: int
    ) -> Expr:
        for step, factor in zip(steps, factors, strict=True):
            # The step times 2⁷ has 16 bits, and so it is the upper half of an operand.
            upper = step << const(7)
            start = start + upper * (factor >> const(16))
            start = start + ((upper * (factor & const(0xFFFF))) >> const(16))
        return _saturated(start >> const(shift))


def upper_half(a: Expr, b: Expr) -> Expr:
    """Return ⌊a · b / 2³²⌋ of int32, b ≥ 0, exactly.

    Of a = a₁·2¹⁶ + a₀ and b likewise, 0 ≤ a₀, b₀ < 2¹⁶ and 0 ≤ b₁ < 2¹⁵. So a₀·b₀ has 32 bits and
    no sign, as both sums below, and -2³¹ ≤ a₁·b₀ < 2³¹.
    """
    low, half = const(0xFFFF), const(16)
    of_a, of_b = (a & low, a >> half), (b & low, b >> half)
    lowest = _logical(of_a[0] * of_b[0])
    middle = of_a[0] * of_b[1] + lowest
    other = of_a[1] * of_b[0]
    carried = _logical((other & low) + middle)
    return of_a[1] * of_b[1] + (other >> half) + carried


def _saturated(whole: Expr) -> Expr:
    return cast(minimum(maximum(whole, const(-128)), const(127)), "int8")


def _logical(value: Expr) -> Expr:
    """The upper half of 32 bits without a sign."""
    return cast(cast(value, "uint32") >> const(16, "uint32"), "int32")


# Arm, Cortex-M0+ Technical Reference Manual (DDI 0484C, table 3.1): MULS takes a cycle, by the fast
# multiplier, ADDS one, loads two. Eight registers are what all but ADD and MOV reach.
ARM_V6M = ThumbMicroKernel(
    name="arm_v6m",
    activation="int8",
    lanes=(1,),
    byte_lanes=(),  # loops over bytes become calls of memcpy and memset
    registers=10,
    pixel_registers=1,
    scratch_registers=4,
    dot_latency=1,
    # Two products in three cycles, as its loops have them; what a compiler makes takes longer.
    dots_per_cycle=1 / 6,
    operand_dots=4.0,
    weight_dots=4.0,
    in_order=True,
    epilogue_cycles=30.0,
    # There is no cache.
    loop_costs=LoopCosts(tile_cycles=24.0, loads_per_cycle=0.5, near_bytes=1 << 30, result_dots=2),
    widening=ThumbWidening(
        cycles=4.0, elements=4, scratch_bytes=4096, unrolled=1, split_order=(0, 2, 1, 3),
        lone_bytes=False, lowest_pairs=False,
    ),
    requantizes=ThumbRequantize(),
)  # fmt: skip
# Three instructions for two products, and what LDM takes.
_WIDENED = WidenedThumbMicroKernel(
    name="arm_v6m",
    activation="int8",
    lanes=(1,),
    byte_lanes=(),
    k_step=2,
    x_bytes=2,
    registers=9,
    dot_latency=1,
    dots_per_cycle=1 / 3,
    weight_dots=0.3,
    in_order=True,
    epilogue_cycles=40.0,
    loop_costs=LoopCosts(tile_cycles=30.0, loads_per_cycle=0.5, near_bytes=1 << 30),
)

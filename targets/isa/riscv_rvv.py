"""RISC-V's vector extension, RVV 1.0: one product a lane, widened.

So weights are vectors over channels, a lane takes one product a step, and no byte is multiplied by
a padding one. There are no intrinsics here: LLVM makes VWMACC of what `dot` says, and register
groups (LMUL) of vectors that are wider than a register.
"""

from collections.abc import Sequence
from dataclasses import replace

from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.costs import ZEN4_LOOP
from edgekiln.targets.isa.expressions import Expr, cast, llvm, splat, vector
from edgekiln.targets.isa.generic import GenericMicroKernel


class RvvMicroKernel(GenericMicroKernel):
    """Four products a lane, for products of two activations: of their bytes, words are made."""

    def clamp(self, value: Expr, low: Expr, high: Expr, lanes: int) -> Expr:
        """VFMAX and VFMIN give the other operand where one is NaN."""
        value = llvm("llvm.maxnum", vector("float32", lanes), value, splat(low, lanes))
        return llvm("llvm.minnum", vector("float32", lanes), value, splat(high, lanes))

    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        """VFCVT rounds as `frm` says: half to even, unless somebody has changed that."""
        return llvm("llvm.lrint", vector("int32", lanes), x)

    @property
    def products(self) -> MicroKernel:
        return RvvScalarMicroKernel(
            name=self.name,
            activation=self.activation,
            lanes=self.lanes,
            k_step=1,
            x_bytes=1,
            registers=self.registers,
            register_lanes=self.register_lanes,
            dot_latency=self.dot_latency,
            dots_per_cycle=self.dots_per_cycle,
            operand_dots=3.0,  # VMV of one register and VSEXT of two, for a group of four
            in_order=self.in_order,
            epilogue_cycles=self.epilogue_cycles,
            loop_costs=self.loop_costs,
        )

    @property
    def depthwise(self) -> MicroKernel:
        return self.products


class RvvScalarMicroKernel(RvvMicroKernel):
    """One product a lane: of a vector of weights and a scalar, or a vector of as many channels."""

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        return acc + cast(a, "int32", lanes) * cast(w, "int32", lanes)

    def operand(self, pixels: Sequence[Expr], step: int, lanes: int) -> Expr:
        # One byte is loaded at a time. Widened before it is in all lanes, it would be a scalar
        # operand of VWMACC; but then LLVM 22 never ends.
        del step
        (pixel,) = pixels
        return splat(pixel, lanes)


# Registers have 128 bits or more, and programs count on no more: wider ones hold the same lanes.
# Nobody has measured these cycles. An in-order core is taken, such as SiFive's X280 or SpacemiT's
# X60 (LLVM, RISCVSchedSiFive7.td and RISCVSchedSpacemitX60.td), with a load and a vector
# multiplication of 128 bits a cycle.
RVV = RvvMicroKernel(
    name="riscv_rvv",
    activation="int8",
    lanes=(16, 8, 4),
    registers=32,
    register_lanes=4,
    in_order=True,
    loop_costs=replace(ZEN4_LOOP, loads_per_cycle=1.0),
)

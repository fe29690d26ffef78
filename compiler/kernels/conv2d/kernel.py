"""Convolution as an implicit matrix product, without boundary conditions: the input has a halo.

One work item is a row of output pixels, or a tile of them where rows join. Output channels are
vectors; a register tile of pixels × vectors accumulates over k, the flattened (kh, kw, ic). For one
kh the taps (kw, ic) lie side by side in memory, so k runs over KW·IC bytes in steps of four
whatever the channel count; the last step may read bytes of the next pixel, whose weights are zero.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels import label
from edgekiln.compiler.kernels.border import assert_covered
from edgekiln.compiler.kernels.conv2d.emit_matrix import MatrixEmitter, MatrixPlan
from edgekiln.compiler.kernels.conv2d.vectors import VectorPlan, emit, vector_plans
from edgekiln.compiler.kernels.epilogue.requantize import Epilogue, Residual, erased_convolution
from edgekiln.compiler.kernels.epilogue.sums import folded_bias, is_rectified
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tile import Tile, in_turn
from edgekiln.compiler.kernels.tir import KernelBuilder
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AnyPlan = VectorPlan | MatrixPlan


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv2d:
    """y = epilogue(bias + Σ (x - zero point)·weight).

    Args:
        x: with a halo of at least `pads`.
        y: quantized, or float sums times `mult`.
        weight: (OC, IC / groups, KH, KW) int8.
        bias: (OC,) int32, in units of s_x·s_w.
        mult: (OC,) float32, see `epilogue.multiplier`.
        pads: top, left.
        clip: lowest and highest code of y.
        compact: whether the weights must take no more bytes than these.
    """

    x: Nhwc
    y: Nhwc
    weight: "NDArray[np.int8]"
    bias: "NDArray[np.int32]"
    mult: "NDArray[np.float32]"
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    groups: int = 1
    clip: tuple[int, int] = (0, 255)
    residual: Residual | None = None
    tile: Tile | None = None
    compact: bool = False

    @property
    def label(self) -> str:
        return label.of_convolution("conv", self)

    @property
    def shape(self) -> "Conv2d":
        """It without its numbers and its tile."""
        return replace(erased_convolution(self), tile=None)

    def tiles(self, mk: MicroKernel) -> list[Tile]:
        """What `tile` may be, the default first, then what looks best."""
        plans = replace(self, tile=None)._plans(mk)
        return in_turn(*(plan.ranked for plan in plans))

    @shared(erased_convolution)
    def build(self, mk: MicroKernel) -> Kernel:
        size = self.weight.shape[2:]
        assert_covered(self.x, (self.y.h, self.y.w), size, self.strides, self.pads, self.dilations)
        plan = self._plan(mk)
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            epilogue = Epilogue(mk, self.y, self.clip, self.residual, rectified=is_rectified(self))
            epilogue.declare_inputs(k)
            weights = k.constant(plan.packed_weights())
            bias, mult = plan.per_lane(folded_bias(self)), plan.per_lane(self.mult)
            epilogue.declare_constants(k, bias, mult)
            if isinstance(plan, MatrixPlan):
                configuration = k.constant(plan.tile.configuration())
                epilogue.declare_output(k)
                MatrixEmitter(plan, x, weights, epilogue, configuration).emit(*k.items(plan.work))
            else:
                epilogue.declare_output(k)
                emit(plan, x, weights, epilogue, k.items(plan.work))
        return k.finish()

    def _plan(self, mk: MicroKernel) -> AnyPlan:
        """By the algorithm of its tile, or whichever takes fewer cycles."""
        assert not (self.residual and self.y.pixel != self.y.c), "one place serves both"
        return min(self._plans(mk), key=lambda plan: plan.ranked[0][0])

    def _plans(self, mk: MicroKernel) -> list[AnyPlan]:
        """One for each algorithm there is, or that of its tile alone."""
        plans: list[AnyPlan] = [*vector_plans(self, mk)]
        if mk.matrix and (self.tile is None or self.tile.algorithm == "matrix"):
            plans.append(MatrixPlan(self, mk))
        return plans

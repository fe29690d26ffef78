"""Convolution of floats: the implicit matrix product of `conv2d`, a product a lane and step."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels import label
from edgekiln.compiler.kernels.border import assert_covered
from edgekiln.compiler.kernels.conv2d.vectors import emit, vector_plans
from edgekiln.compiler.kernels.epilogue.floats import NO_CLIP, FloatEpilogue, erased_convolution
from edgekiln.compiler.kernels.epilogue.requantize import Residual
from edgekiln.compiler.kernels.function import Function
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tile import Tile, in_turn
from edgekiln.compiler.kernels.tir import KernelBuilder
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatConv2d:
    """y = epilogue(bias + Σ x·weight).

    Args:
        x: with a halo of at least `pads`.
        weight: (OC, IC / groups, KH, KW) float32.
        bias: (OC,) float32.
        pads: top, left.
        clip, residual, function: see `FloatEpilogue`.
        compact: as in `Conv2d`.
    """

    x: Nhwc
    y: Nhwc
    weight: "NDArray[np.float32]"
    bias: "NDArray[np.float32]"
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    groups: int = 1
    clip: tuple[float, float] = NO_CLIP
    residual: Residual | None = None
    function: Function = ()
    tile: Tile | None = None
    compact: bool = False

    @property
    def label(self) -> str:
        return label.of_convolution("float conv", self) + label.of_function(self.function)

    @property
    def shape(self) -> "FloatConv2d":
        """It without its numbers and its tile."""
        return replace(erased_convolution(self), tile=None)

    def tiles(self, mk: MicroKernel) -> list[Tile]:
        """What `tile` may be, the default first, then what looks best."""
        return in_turn(*(plan.ranked for plan in vector_plans(replace(self, tile=None), mk)))

    @shared(erased_convolution)
    def build(self, mk: MicroKernel) -> Kernel:
        size = self.weight.shape[2:]
        assert_covered(self.x, (self.y.h, self.y.w), size, self.strides, self.pads, self.dilations)
        plan = min(vector_plans(self, mk), key=lambda plan: plan.ranked[0][0])
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, "float32")
            epilogue = FloatEpilogue(mk, self.y, self.clip, self.residual, self.function)
            epilogue.declare_inputs(k)
            weights = k.constant(plan.packed_weights())
            epilogue.declare_constants(k, plan.per_lane(self.bias))
            epilogue.declare_output(k)
            emit(plan, x, weights, epilogue, k.items(plan.work))
        return k.finish()

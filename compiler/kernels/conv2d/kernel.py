"""Convolution as an implicit matrix product, without boundary conditions: the input has a halo.

One work item is a row of output pixels, or a tile of them where rows join. Output channels are
vectors; a register tile of pixels × vectors accumulates over k, the flattened (kh, kw, ic). For one
kh the taps (kw, ic) lie side by side in memory, so k runs over KW·IC elements in steps of `k_step`
whatever the channel count; the last step may read what belongs to the next pixel, whose weights are
zero. Where it takes fewer cycles, a matrix unit or Winograd's filtering computes the same sums.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.conv2d import (
    narrow,
    narrow_blocks,
    narrow_plan,
    widened_plan,
    winograd_plan,
)
from edgekiln.compiler.kernels.conv2d.emit_matrix import ConvolutionMatrixEmitter
from edgekiln.compiler.kernels.conv2d.emit_tile import ConvolutionTileEmitter
from edgekiln.compiler.kernels.conv2d.emit_widened import WidenedTileEmitter
from edgekiln.compiler.kernels.conv2d.emit_winograd import WinogradEmitter
from edgekiln.compiler.kernels.conv2d.matrix_plan import MatrixPlan
from edgekiln.compiler.kernels.conv2d.narrow_blocks import BlockedWeights
from edgekiln.compiler.kernels.conv2d.plan import DirectPlan
from edgekiln.compiler.kernels.conv2d.spec import ConvolutionSpec
from edgekiln.compiler.kernels.conv2d.widened_plan import WidenedPlan
from edgekiln.compiler.kernels.conv2d.winograd_plan import WinogradPlan
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tile import Tile, alternating
from edgekiln.compiler.kernels.tir import scratch
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.compiler.onnx_model import four_bits
from edgekiln.compiler.onnx_model.weight_blocks import size_of_blocks
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Buffer

AnyPlan = DirectPlan | MatrixPlan | WinogradPlan
# Weights that are decoded before they are read.
_Storage = narrow.NarrowLayout | BlockedWeights


@dataclass(frozen=True, kw_only=True, eq=False)
class ConvolutionKernel(ConvolutionSpec):
    """A convolution, and how it is built."""

    SIGNED_AS: ClassVar[str] = "Convolution"

    def tiles(self, mk: MicroKernel) -> list[Tile]:
        """What `tile` may be, the default first, then what looks best."""
        plans = replace(self, tile=None)._plans(mk)
        return alternating(*(plan.ranked for plan in plans))

    def cycles(self, mk: MicroKernel) -> float:
        """What it takes by the cheapest algorithm, roughly."""
        return min(plan.ranked[0][0] for plan in self._plans(mk))

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel: by the algorithm of its tile, or by what takes the fewest cycles."""
        self.check()
        assert not (self.residual and self.y.pixel != self.y.c), "one place serves both"
        plan = self._plan(mk)
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            epilogue = self.finish.epilogue(mk, self)
            epilogue.declare_inputs(k)
            storage = self._storage(plan) if isinstance(plan, DirectPlan) else None
            arrays = storage.arrays() if storage else [plan.packed_weights()]
            constants = [k.constant(array) for array in arrays]
            weights = constants[0]
            epilogue.declare_constants(k, plan.per_lane)
            match plan:
                case MatrixPlan():
                    configuration = k.constant(plan.tile.configuration())
                    epilogue.declare_output(k)
                    items = k.items(plan.work)
                    ConvolutionMatrixEmitter(plan, x, weights, epilogue, configuration).emit(*items)
                case WinogradPlan():
                    epilogue.declare_output(k)
                    WinogradEmitter(plan, x, weights, epilogue).emit(*k.items(plan.work))
                case WidenedPlan():
                    epilogue.declare_output(k)
                    items = k.items(plan.work)
                    strip = scratch("int16", plan.kh * plan.pitch, plan.alignment)
                    weights, decoder = _as_read(storage, constants)
                    emitter = WidenedTileEmitter(
                        plan, strip, weights, epilogue, decoder=decoder, image=x
                    )
                    emitter.emit(*items)
                case DirectPlan():
                    epilogue.declare_output(k)
                    items = k.items(plan.work)
                    weights, decoder = _as_read(storage, constants)
                    ConvolutionTileEmitter(plan, x, weights, epilogue, decoder=decoder).emit(*items)
        return k.finish()

    def in_four_bits(self, mk: MicroKernel) -> Self:
        """The same with its weights in four bits each in memory, where they fit and pay."""
        if mk.group or not narrow_plan.has_small_blocks(self, mk):
            return self
        if four_bits.hold(self.weight):
            return replace(self, narrow=True) if narrow.stay_narrow(self.weight, mk) else self
        if not narrow_blocks.fits(self, mk.products):
            return self
        size = size_of_blocks(self.weight[:, :, 0, 0])
        whole = size is not None and size % (2 * mk.products.k_step) == 0
        return replace(self, narrow=True, block=size) if whole else self

    def _storage(self, plan: DirectPlan) -> _Storage | None:
        """How weights in four bits each lie in memory."""
        if not self.narrow:
            return None
        return BlockedWeights(plan, self.block) if self.block else narrow.layout_of(plan)

    def direct(self, mk: MicroKernel) -> DirectPlan | None:
        """The plan by which it is computed, if that is by its definition, on vectors."""
        plan = self._plan(mk)
        return plan if isinstance(plan, DirectPlan) else None

    def _plan(self, mk: MicroKernel) -> AnyPlan:
        return min(self._plans(mk), key=lambda plan: plan.ranked[0][0])

    def _plans(self, mk: MicroKernel) -> list[AnyPlan]:
        """One for each algorithm there is, or that of its tile alone."""
        algorithm = self.tile.algorithm if self.tile else None
        if self.narrow:
            return [*narrow_plan.plans(self, mk, algorithm)]
        plans: list[AnyPlan] = []
        if algorithm in (None, "direct"):
            plans.append(DirectPlan(self, mk.products))
        if algorithm in (None, "widened") and widened_plan.applies(self, mk):
            plans.append(WidenedPlan(self, mk))
        if algorithm in (None, "winograd") and winograd_plan.applies(self, mk):
            plans.append(WinogradPlan(self, mk))
        if algorithm in (None, "matrix") and mk.matrix:
            plans.append(MatrixPlan(self, mk))
        return plans


def _as_read(
    storage: _Storage | None, constants: list[Buffer]
) -> tuple[Buffer, narrow.Decoder | narrow_blocks.BlockDecoder | None]:
    """Where the loops find the weights, and what puts them there, if they do not lie so."""
    if storage is None:
        return constants[0], None
    decoder = storage.decoder(constants)
    return decoder.decoded, decoder

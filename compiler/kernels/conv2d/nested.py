"""A convolution that reads the first channels of a wider one's weights, where those lie."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.conv2d.emit_tile import ConvolutionTileEmitter
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.conv2d.nested_plan import NestedPlan
from edgekiln.compiler.kernels.conv2d.plan import DirectPlan
from edgekiln.compiler.kernels.conv2d.spec import ConvolutionSpec
from edgekiln.compiler.kernels.epilogue.sums import Weights
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel


@dataclass(frozen=True, kw_only=True, eq=False)
class NestedConvolutionKernel(ConvolutionSpec):
    """A convolution whose weights are wider[:OC, :IC], and whose constant is `wider`, packed as the
    kernel that has those weights packs them.

    Args:
        wider: (OC, IC, KH, KW), at least as many channels.
    """

    wider: Weights

    @property
    def erased(self) -> Self:
        return replace(super().erased, wider=np.zeros_like(self.wider))

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        self.check()
        plan = NestedPlan(self, self.wider, mk.products)
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            epilogue = self.finish.epilogue(mk, self)
            epilogue.declare_inputs(k)
            weights = k.constant(plan.packed_weights())
            epilogue.declare_constants(k, plan.per_lane)
            epilogue.declare_output(k)
            ConvolutionTileEmitter(plan, x, weights, epilogue).emit(*k.items(plan.work))
        return k.finish()


def nested(
    conv: ConvolutionKernel, wider: Iterable[ConvolutionKernel], mk: MicroKernel
) -> NestedConvolutionKernel | None:
    """The convolution inside of the first of `wider`, other points' kernels, that has its weights
    and lays them out so that it can read them; None where there is none.
    """
    if conv.groups != 1:
        return None
    oc, ic = conv.weight.shape[:2]
    for other in wider:
        if other.groups != 1 or not np.array_equal(other.weight[:oc, :ic], conv.weight):
            continue
        packed = other.direct(mk)
        if packed is None:
            continue
        own = {field.name: getattr(conv, field.name) for field in fields(conv)}
        own["tile"] = packed.tile
        kernel = NestedConvolutionKernel(**own, wider=other.weight)
        if _alike(NestedPlan(kernel, other.weight, mk.products), packed):
            return kernel
    return None


def _alike(plan: NestedPlan, packed: DirectPlan) -> bool:
    """Whether the weights lie as the plan takes them to."""
    wider = plan.wider
    # Micro-kernels of one name may take weights of different widths, as many a step or not.
    layout = (wider.layout, wider.flat, wider.taps, wider.steps, wider.mk, plan.mk)
    same = layout == (
        packed.layout, packed.flat, packed.taps, packed.steps, packed.mk, packed.mk,
    )  # fmt: skip
    return plan.fits and same

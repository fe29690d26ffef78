"""A convolution of bytes in pairs: fewer instructions than words, where the weights allow it."""

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.channels import vectors
from edgekiln.compiler.kernels.conv2d.emit_paired import PairedTileEmitter
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.conv2d.paired_plan import PairedPlan
from edgekiln.compiler.kernels.conv2d.spec import ConvolutionSpec
from edgekiln.compiler.kernels.epilogue.sums import Weights
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tile import Tile
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel

_NARROW = 4  # numbers of channels in a block that are tried


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedConvolutionKernel(ConvolutionSpec):
    """A convolution whose products are added two by two in 16 bits, exactly; see `pairing`.

    Its code is that of all weights: which elements are multiplied in a step lies beside them.
    """

    @property
    def erased_weight(self) -> Weights:
        return np.ones_like(self.weight)

    def tiles(self, mk: MicroKernel) -> list[Tile]:
        """What `tile` may be, the default first, then what looks best."""
        return [tile for _, tile in PairedPlan(replace(self, tile=None), mk).ranked]

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        self.check()
        plan = PairedPlan(self, mk)
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            epilogue = self.finish.epilogue(mk, self)
            epilogue.declare_inputs(k)
            weights = k.constant(plan.packed_weights())
            table = k.constant(plan.table())
            epilogue.declare_constants(k, plan.per_lane)
            epilogue.declare_output(k)
            PairedTileEmitter(plan, x, weights, epilogue, table).emit(*k.items(plan.work))
        return k.finish()

    @classmethod
    def of(cls, conv: ConvolutionSpec) -> Self:
        """The same convolution."""
        return cls(**{field.name: getattr(conv, field.name) for field in fields(conv)})


def cheapest(
    conv: ConvolutionKernel, mk: MicroKernel
) -> ConvolutionKernel | PairedConvolutionKernel:
    """The convolution in the form, and with the tile, that takes the fewest cycles with its
    weights.
    """
    if mk.paired is None or conv.weight.dtype != np.int8:
        return conv
    paired = PairedConvolutionKernel.of(conv)
    plans = [PairedPlan(replace(paired, tile=tile), mk) for tile in _widths(paired, mk)]
    best = min(plans, key=lambda plan: plan.cycles)
    # Neither form is always faster: many picked steps cost more than the instructions saved.
    return replace(paired, tile=best.tile) if best.cycles < conv.cycles(mk) else conv


def _widths(conv: PairedConvolutionKernel, mk: MicroKernel) -> list[Tile]:
    """The best tile for each number of channels in a block, narrow ones: the fewer channels have to
    agree on pairs, the more pairs there are.
    """
    # `tiles` come best first, so the first of a width is kept.
    best: dict[int, Tile] = {}
    for tile in conv.tiles(mk):
        columns = vectors(len(conv.weight) // conv.groups, mk, tile.lanes)
        best.setdefault(sum(vector.lanes for vector in columns[: tile.vectors]), tile)
    return [best[width] for width in sorted(best)[:_NARROW]]

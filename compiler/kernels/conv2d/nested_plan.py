"""The numbers of a convolution whose weights are the first channels of a wider one's.

    the wider one's weights         [block][tap][step][vector][lane][k_step]
    this one's:                      first blocks ─┘    │      └ of its last block the first vectors
                                    each tap's first steps

It has the wider one's tile, so that blocks, vectors and lanes are the same; steps it leaves out are
passed over. Where it takes fewer input channels, these fill whole steps, for what stands behind
them in memory are other channels' weights and not zeros.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.channels import Vector, expand
from edgekiln.compiler.kernels.conv2d.plan import DirectPlan
from edgekiln.compiler.kernels.conv2d.spec import ConvolutionSpec
from edgekiln.compiler.kernels.epilogue.sums import Weights
from edgekiln.targets.isa.base import MicroKernel


class NestedPlan(DirectPlan):
    """The numbers of one convolution inside of a wider one.

    Args:
        conv: with the tile of the wider one.
        wider: (OC, IC, KH, KW), the weights that lie in memory.
        mk: of products, as of `DirectPlan`.
    """

    def __init__(self, conv: ConvolutionSpec, wider: Weights, mk: MicroKernel) -> None:
        assert conv.tile is not None
        assert conv.groups == 1
        # Of whom the weights are packed: nothing but these and the tile say how.
        self.wider = DirectPlan(replace(conv, weight=wider), mk)
        super().__init__(conv, mk)

    def _is_flat(self) -> bool:
        # A narrower pixel is not a row's next step.
        return self.wider.flat and self.conv.weight.shape[1] == self.wider.ic

    def _columns(self) -> tuple[Vector, ...]:
        """The wider one's vectors as far as there are channels; the last one is stored in part."""
        every = (v for block in self.wider.layout for chunk in expand(block) for v in chunk)
        return tuple(
            Vector(v.start, v.lanes, min(v.valid, self.oc - v.start))
            for v in every
            if v.start < self.oc
        )

    @property
    def stored_steps(self) -> int:
        wider = self.wider
        # A row of the filter may be one tap there, where here each of its pixels is one.
        pixels: int = 1 if self.flat or not wider.flat else wider.kw
        return wider.steps // pixels

    @property
    def stored_taps(self) -> int:
        # Together with `stored_steps` all that lies in a lane.
        lane: int = self.wider.taps * self.wider.steps
        return lane // self.stored_steps

    def stored_channels(self, number: int) -> int:
        block = self.layout[number]
        chunks = [chunk for each in self.wider.layout for chunk in expand(each)]
        own = next(chunk for chunk in chunks if chunk[0].start == block.vectors[0].start)
        return sum(vector.lanes for vector in own)

    @property
    def fits(self) -> bool:
        """Whether this convolution can read the wider one's weights."""
        conv, wider = self.conv, self.wider
        oc, ic, *kernel = conv.weight.shape
        same = wider.conv.weight.shape[2:] == tuple(kernel)
        inside = oc <= wider.oc and ic <= wider.ic
        if not (same and inside and self.tile.pixels <= self.pixels):
            return False
        # Whole steps of each tap, here and there.
        whole = ic % self.mk.k_step == 0
        joined = wider.flat and wider.kw > 1
        return ic == wider.ic or (whole and (not joined or wider.ic % self.mk.k_step == 0))

    def packed_weights(self) -> NDArray[np.generic]:
        return self.wider.packed_weights()

"""A convolution over all channels, or over all of a group, as data."""

from dataclasses import dataclass, field

import numpy as np

from edgekiln.compiler.kernels.conv2d import lowest_pairs, winograd
from edgekiln.compiler.kernels.epilogue.sums import Weights
from edgekiln.compiler.kernels.filters import FilterSpec
from edgekiln.compiler.kernels.sharing import SIGNED_IF_SET


@dataclass(frozen=True, kw_only=True, eq=False)
class ConvolutionSpec(FilterSpec):
    """Computes y = finish(bias + Σ (x - zero point)·weight).

    Args:
        compact: whether the weights must take no more bytes than these.
        narrow: whether they lie in memory in four bits each; see `narrow`.
        block: of these, how many have a factor of their own; see `narrow_blocks`.
    """

    groups: int = 1
    compact: bool = False
    narrow: bool | None = field(default=None, metadata={SIGNED_IF_SET: True})
    block: int | None = field(default=None, metadata={SIGNED_IF_SET: True})

    @property
    def erased_weight(self) -> Weights:
        """They decide nothing but whether Winograd's filtering is exact, and sums of pairs."""
        # Of four bits there is no filtering.
        same = np.zeros_like(self.weight) if self.narrow else winograd.erased(self.weight)
        return lowest_pairs.kept(self.weight, same)

    @property
    def label(self) -> str:
        """What it computes, in words for people."""
        oc, ic, *_ = self.weight.shape
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        return self.described("conv", f"{ic * self.groups}→{oc}{groups}")

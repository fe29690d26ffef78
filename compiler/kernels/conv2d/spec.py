"""A convolution over all channels, or over all of a group, as data."""

from dataclasses import dataclass

from edgekiln.compiler.kernels.conv2d import lowest_pairs, winograd
from edgekiln.compiler.kernels.epilogue.sums import Weights
from edgekiln.compiler.kernels.filters import FilterSpec


@dataclass(frozen=True, kw_only=True, eq=False)
class ConvolutionSpec(FilterSpec):
    """Computes y = finish(bias + Σ (x - zero point)·weight).

    Args:
        compact: whether the weights must take no more bytes than these.
    """

    groups: int = 1
    compact: bool = False

    @property
    def erased_weight(self) -> Weights:
        """They decide nothing but whether Winograd's filtering is exact, and sums of pairs."""
        return lowest_pairs.kept(self.weight, winograd.erased(self.weight))

    @property
    def label(self) -> str:
        """What it computes, in words for people."""
        oc, ic, *_ = self.weight.shape
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        return self.described("conv", f"{ic * self.groups}→{oc}{groups}")

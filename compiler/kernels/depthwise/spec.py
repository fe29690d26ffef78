"""A convolution of each channel with a filter of its own, as data."""

from dataclasses import dataclass

from edgekiln.compiler.kernels.filters import FilterSpec


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthwiseSpec(FilterSpec):
    """Computes y = finish(bias + Σ (x - zero point)·weight), channel by channel.

    Args:
        x: y has as many channels.
        weight: (C, 1, KH, KW).
        tile: `pixels` counts vectors of output columns, `rows` output rows.
    """

    @property
    def label(self) -> str:
        """For people: what it computes."""
        return self.described("depthwise", f"{len(self.weight)}")

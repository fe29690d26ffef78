"""A convolution of each channel with a filter of its own, as data."""

from dataclasses import dataclass

from edgekiln.compiler.kernels.filters import FilterSpec

# Between pixels that share a vector: all of them are read, and bytes behind the last: up to 64 of
# floats, 32 of codes.
_MOST_STRIDE = 2


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
        """What it computes, in words for people."""
        return self.described("depthwise", f"{len(self.weight)}")

    def pixels_together(self, lanes: int) -> int:
        """How many neighbouring pixels share a vector: more than one where few channels fill it."""
        fits = lanes % self.x.c == 0 and self.y.w * self.x.c >= lanes
        return lanes // self.x.c if fits and self.strides[1] <= _MOST_STRIDE else 1

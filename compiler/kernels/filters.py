"""What convolutions over all channels and over each channel have in common: sums over a window."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from edgekiln.compiler.kernels.border import assert_covered
from edgekiln.compiler.kernels.epilogue.finish import Finish
from edgekiln.compiler.kernels.epilogue.sums import Sums, Weights
from edgekiln.compiler.kernels.tile import Tile


@dataclass(frozen=True, kw_only=True, eq=False)
class FilterSpec(Sums):
    """Computes y = finish(bias + Σ (x - zero point)·weight), the sum being over a window of x.

    Args:
        pads: top, left; x has a halo of at least as much.
        finish: what becomes of the sums.
        tile: chosen when None.
    """

    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    finish: Finish
    tile: Tile | None = None

    @property
    def erased(self) -> Self:
        """The layer that stands for all with the same code."""
        general, finish = self.finish.erased(self)
        return replace(general, finish=finish, weight=self.erased_weight)

    @property
    def erased_weight(self) -> Weights:
        """Weights that stand for all of which the code is the same."""
        return np.zeros_like(self.weight)

    @property
    def shape(self) -> Self:
        """The layer without its numbers and its tile: what a choice of a tile depends on."""
        return replace(self.erased, tile=None)

    def check(self) -> None:
        """No window may leave the image and its border."""
        kh, kw = self.weight.shape[2:]
        size = self.y.h, self.y.w
        assert_covered(self.x, size, (kh, kw), self.strides, self.pads, self.dilations)

    def described(self, kind: str, channels: str) -> str:
        """A layer in words for people: its kind, its filter, its channels and its result's size."""
        kh, kw = self.weight.shape[2:]
        # As people write it: "conv 3×3/2 64→128, 28×28 + residual".
        by = f"/{self.strides[0]}" if self.strides != (1, 1) else ""
        plus = " + residual" if self.residual else ""
        what = f"{self.finish.prefix}{kind} {kh}×{kw}{by} {channels}"
        return f"{what}, {self.y.h}×{self.y.w}{plus}{self.finish.suffix}"

"""How a copy moves values: by runs, by pixels, or by squares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from edgekiln.compiler.kernels.copy_axes import Axis, CopyWalk, are_planes, with_items
from edgekiln.compiler.kernels.squares import Squares, squares
from edgekiln.targets.isa.base import MicroKernel


@dataclass(frozen=True, kw_only=True)
class CopyPlan:
    """The loops of a copy.

    Args:
        axes: those that are not the squares', the first for the work items.
    """

    walk: CopyWalk
    axes: list[Axis]
    squares: Squares | None

    @classmethod
    def of(cls, walk: CopyWalk, mk: MicroKernel, widths: Sequence[int], size: int) -> Self:
        """The plan that suits the axes and the vectors there are.

        Args:
            widths: elements of the walk that a vector may have.
            size: bytes of a value.
        """
        planes = are_planes(walk.axes)
        turned = None if planes else squares(mk, walk.axes, widths, size * walk.run)
        axes = with_items(walk.axes) if turned is None else turned.others
        return cls(walk=walk, axes=axes, squares=turned)

    @property
    def run(self) -> int:
        """Values that are moved like one."""
        return self.walk.run

    @property
    def items(self) -> int:
        """The work items."""
        if self.squares is not None and self.squares.outermost:
            return self.squares.items
        return self.axes[0][0]

    def dtype(self, of_values: str) -> str:
        """The type of what is moved, where values are of the type given."""
        bits = 8 * self.run * np.dtype(of_values).itemsize
        return of_values if self.run == 1 else f"uint{bits}"

"""The axes of a copy, as few and as long as they can be."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Self

from edgekiln.compiler.kernels.types import even_share

# An axis of what is moved: extent, stride in x, stride in y.
Axis = tuple[int, int, int]

_WHOLE = (8, 4, 2)  # bytes that are moved at once like one value
_MOST_PLANES = 4  # of an image whose pixels are put together in registers


def merged(shape: Sequence[int], x_strides: Sequence[int], y_strides: Sequence[int]) -> list[Axis]:
    """Return the axes in the order of y's memory, joined where both sides are dense."""
    given = zip(shape, x_strides, y_strides, strict=True)
    axes: list[Axis] = []
    for extent, a, b in sorted(given, key=lambda axis: -axis[2]):
        # An axis of one step is none.
        if extent == 1:
            continue
        # This axis continues where one step of the axis before it ends, in x and in y.
        if axes and axes[-1][1] == a * extent and axes[-1][2] == b * extent:
            axes[-1] = (axes[-1][0] * extent, a, b)
        else:
            axes.append((extent, a, b))
    return axes or [(1, 1, 1)]


def are_planes(axes: Sequence[Axis]) -> bool:
    """Whether a few channels side by side come from planes whose pixels are."""
    *outer, (count, _, step) = axes
    # The first axis makes work items.
    several = len(outer) > 1
    return several and outer[-1][1:] == (1, count) and step == 1 and count <= _MOST_PLANES


def with_items(axes: list[Axis]) -> list[Axis]:
    """Return the axes with one in front of the innermost one, for the work items. Where there is
    none the innermost one is cut.
    """
    if len(axes) > 1:
        return axes
    ((extent, a, b),) = axes
    size = even_share(extent)
    return [(extent // size, size * a, size * b), (size, a, b)]


@dataclass(frozen=True, kw_only=True)
class CopyWalk:
    """The axes, and how many values side by side are one element of theirs.

    Args:
        offsets: of the first element in x and in y.
        run: values of an element.
    """

    axes: list[Axis]
    offsets: tuple[int, int]
    run: int = 1

    def of_runs(self, size: int, *further: int) -> Self:
        """The same walk by elements of two, four or eight bytes, where so many always lie together.

        Args:
            size: bytes of a value.
            further: what else must be whole elements.
        """
        *outer, (run, *steps) = self.axes
        jumps = [*self.offsets, *further, *(step for axis in outer for step in axis[1:])]
        if not outer or steps != [1, 1] or run * size not in _WHOLE or gcd(run, *jumps) != run:
            return self
        axes = [(extent, a // run, b // run) for extent, a, b in outer]
        x, y = (offset // run for offset in self.offsets)
        return type(self)(axes=axes, offsets=(x, y), run=run)

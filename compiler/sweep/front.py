"""The front of several objectives: what nothing else is better than. Only numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from edgekiln.compiler.sweep.measures import Measure
from edgekiln.compiler.sweep.result import TrialRow
from edgekiln.runtime.results import NOISY_SPREAD


@dataclass(frozen=True, kw_only=True)
class SpreadValue:
    """A number, and between which numbers it lies when it is measured again."""

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Self:
        """A number that is the same every time."""
        return cls(value=value, low=value, high=value)

    @classmethod
    def around(cls, value: float, by: float) -> Self:
        """A number that may be less or more by the amount `by`."""
        return cls(value=value, low=value - by, high=value + by)

    def surely_better(self, other: Self, *, maximized: bool) -> bool:
        """Whether it is better than any number that `other` may be."""
        return self.low > other.high if maximized else self.high < other.low

    def no_worse(self, other: Self, *, maximized: bool) -> bool:
        """Whether it is better or the same, spreads aside."""
        return self.value >= other.value if maximized else self.value <= other.value


def standard_error(share: float, samples: int) -> float:
    """The standard error of a share of independent samples, sqrt(p (1 - p) / n)."""
    return math.sqrt(max(0.0, share * (1.0 - share)) / samples)


def dominates(
    one: Sequence[SpreadValue], other: Sequence[SpreadValue], maximized: Sequence[bool]
) -> bool:
    """Whether `one` is no worse in any objective, and in one of them better by more than the
    spreads. Where that is in doubt, both stay: so a front with spreads holds all that it would
    hold without, and no circle of such relations is possible.
    """
    rows = list(zip(one, other, maximized, strict=True))
    return all(a.no_worse(b, maximized=more) for a, b, more in rows) and any(
        a.surely_better(b, maximized=more) for a, b, more in rows
    )


def front_of(points: Sequence[Sequence[SpreadValue]], maximized: Sequence[bool]) -> list[int]:
    """The places of the points that no other dominates, in their order."""
    return [
        place
        for place, own in enumerate(points)
        if not any(dominates(other, own, maximized) for other in points if other is not own)
    ]


def front_rows(rows: Sequence[TrialRow], objectives: Sequence[Measure]) -> list[TrialRow]:
    """The trials within the limits that may be on the front, once they are measured well: of a
    latency that was measured in passing no few percent are sure.
    """
    within = [row for row in rows if row.holds]
    points = [[_in_passing(row, measure) for measure in objectives] for row in within]
    return [within[i] for i in front_of(points, [each.maximized for each in objectives])]


def _in_passing(row: TrialRow, measure: Measure) -> SpreadValue:
    value = row.measures[measure.name]
    by = abs(value) * NOISY_SPREAD / 2 if measure.noisy else 0.0
    return SpreadValue.around(value, by)

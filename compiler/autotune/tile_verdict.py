"""Which candidate of a layer is worth a change from the default."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

_WORTH = 0.02  # of the time: for less, the default stays
_TOLD_S = 5e-8  # what clocks can tell of one call; whole cycles are always told


@dataclass(frozen=True, kw_only=True)
class TileVerdict:
    """The candidates of a layer, the default first, after some trials.

    Candidates take turns, so what disturbs one trial disturbs both sides of its gain, default cost
    / candidate's cost. A candidate replaces the default if its median gain exceeds the gain's
    spread over the trials, the largest less the smallest.
    """

    costs: tuple[float, ...]  # medians
    gains: tuple[float, ...]
    gain_spreads: tuple[float, ...]

    @classmethod
    def of(cls, trials: Sequence[Sequence[float]]) -> Self:
        """Judge by the costs of every candidate in each trial."""
        gains = [*zip(*([costs[0] / cost for cost in costs] for costs in trials), strict=True)]
        return cls(
            costs=tuple(statistics.median(one) for one in zip(*trials, strict=True)),
            gains=tuple(map(statistics.median, gains)),
            gain_spreads=tuple(max(of) - min(of) for of in gains),
        )

    @property
    def chosen(self) -> int:
        """The cheapest one of those that win; the default where none does."""
        winners = [
            index for index in self._better if self.gains[index] - 1 > self.gain_spreads[index]
        ]
        return min(winners, key=self.costs.__getitem__, default=0)

    @property
    def undecided(self) -> bool:
        """Whether the default stays although another one looks better."""
        return self.chosen == 0 and bool(self._better)

    @property
    def _better(self) -> list[int]:
        return [
            index
            for index, (cost, gain) in enumerate(zip(self.costs, self.gains, strict=True))
            if gain - 1 > _WORTH and self.costs[0] - cost > _TOLD_S
        ]

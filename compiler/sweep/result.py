"""What a sweep tells: the same numbers for the table, the page and for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.sweep.measures import ObjectiveFacts
from edgekiln.models.tasks.metric import Better

SCHEMA = "edgekiln.sweep/1"

TrialState = Literal["done", "stopped", "failed", "running"]


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One trial of a study."""

    number: int
    state: TrialState  # "stopped": it was hopeless
    holds: bool  # whether it is done and within all limits
    measures: Mapping[str, float]  # on the validation split, or a cost; SI units
    options: Mapping[str, str]  # "distill.alpha" → its value, as a recipe has it
    reason: str  # why it failed or was stopped
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """A study, and its best recipe."""

    model: str
    target: str
    data: str
    seed: int
    study: str
    storage: str
    objective: ObjectiveFacts
    limits: tuple[str, ...]
    space: Mapping[str, str]  # "distill.alpha" → "0..1:step=0.1"
    asked: int  # trials
    trials: tuple[TrialRow, ...]
    best: int | None  # its number; null: none is within the limits
    built: str  # the model of the best one, with its arguments; "" without a best one
    test: tuple[Score, ...]  # of the best one, on the test split, which is read for it alone
    importances: Mapping[str, float]  # parameter → share of what it explains
    recipe: str  # path; "" without a best one
    page: str  # path

    def trial(self, number: int) -> TrialRow:
        """The trial of this number."""
        return next(each for each in self.trials if each.number == number)


def best_of(rows: Sequence[TrialRow], objective: str, better: Better) -> TrialRow | None:
    """The best trial within the limits; of equal ones the first."""
    done = [row for row in rows if row.holds]
    sign = -1.0 if better == "higher" else 1.0
    return min(done, key=lambda row: (sign * row.measures[objective], row.number), default=None)


def failures(rows: Sequence[TrialRow]) -> dict[str, str]:
    """Reason → the numbers of the trials that failed by it."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.state == "failed":
            found.setdefault(row.reason, []).append(str(row.number))
    return {reason: "trials " * (len(n) > 1) + ", ".join(n) for reason, n in found.items()}

"""What a study's storage knows of a trial beside its values, and the row that it makes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgekiln.compiler.sweep.measures import MeasureLimit
from edgekiln.compiler.sweep.result import TrialRow, TrialState

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from edgekiln.compiler.sweep.plan import SweepPlan

VOID, VALUES = "void", "values"
MEASURES, FAILED, REASON, WALL = "measures", "failed", "reason", "wall_s"
_STATES: Mapping[str, TrialState] = {"COMPLETE": "done", "PRUNED": "stopped"}


def require_whole(trials: "Sequence[FrozenTrial]", plan: "SweepPlan") -> None:
    """Raise ValueError, or what else damage leads to, where a trial that was done lacks something
    that its row, or its recipe, is made of.
    """
    measured = {each.name for each in plan.measures}
    tried = {each.name for each in plan.space}
    for trial in trials:
        row = row_of(trial, plan.limits)
        whole = measured <= row.measures.keys() and tried <= trial.params.keys()
        if row.state == "done" and VOID not in trial.user_attrs and not whole:
            raise ValueError(f"trial {trial.number} is not as it was written")


def row_of(trial: "FrozenTrial", limits: Sequence[MeasureLimit]) -> TrialRow:
    """A trial as reports have it."""
    measures = trial.user_attrs.get(MEASURES, {})
    failed = FAILED in trial.user_attrs or trial.state.name == "FAIL"
    holds = all(x.holds(measures[x.measure.name]) for x in limits if measures)
    return TrialRow(
        number=trial.number,
        state="failed" if failed else _STATES.get(trial.state.name, "running"),
        holds=holds and bool(measures),
        measures={str(name): float(value) for name, value in measures.items()},
        options={str(n): str(text) for n, text in trial.user_attrs.get(VALUES, {}).items()},
        reason=str(trial.user_attrs.get(REASON, "")),
        wall_s=round(float(trial.user_attrs.get(WALL, 0.0)), 1),
    )

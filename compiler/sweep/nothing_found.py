"""The error of a study none of whose trials is what was looked for."""

from collections.abc import Sequence
from pathlib import Path

from edgekiln.compiler.sweep.plan import SweepPlan
from edgekiln.compiler.sweep.result import TrialRow
from edgekiln.runtime.errors import EdgeKilnError, GateError, TrainingError
from edgekiln.runtime.text import counted


def nothing_found(
    plan: SweepPlan, rows: Sequence[TrialRow], page_path: Path | None = None
) -> EdgeKilnError:
    """Why no trial is within the limits, and what to do.

    Args:
        page_path: of a page that tells of every trial; None: there is none.
    """
    done = [row for row in rows if row.state == "done"]
    if not done:
        reasons = [row.reason for row in rows if row.reason]
        return TrainingError(
            f"none of {counted(len(rows), 'trial')} came to its end"
            + (f": {reasons[0]}" if reasons else ""),
            f"{page_path} has the reason of each; try other ranges"
            if page_path
            else "try other ranges",
        )

    def excess(row: TrialRow) -> float:
        return sum(max(0.0, x.excess(row.measures[x.measure.name])) for x in plan.limits)

    nearest = min(done, key=excess)
    missed = [x for x in plan.limits if not x.holds(nearest.measures[x.measure.name])]
    told = ", ".join(
        f"{x.measure.name} {x.measure.shown(nearest.measures[x.measure.name])}" for x in missed
    )
    return GateError(
        f"no trial has {' and '.join(map(str, missed))}: the nearest, trial {nearest.number}, "
        f"has {told}",
        "allow more by --where in another --study, or sweep what it depends on, such as "
        "prune.ratio",
    )

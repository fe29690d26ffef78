"""A search from its plan to its directory: trials, then the front, rebuilt and measured again."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path

from edgekiln.compiler.build.driver import Progress
from edgekiln.compiler.build.resolve import display_name
from edgekiln.compiler.pipeline.stage import Advance
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.pipeline.whole_directory import replaced
from edgekiln.compiler.search.page import front_page
from edgekiln.compiler.search.points import RECIPE, RebuiltPoint, rebuilt, spreads
from edgekiln.compiler.sweep.front import SpreadValue, dominates, front_rows
from edgekiln.compiler.sweep.front_document import FRONT, PAGE, SCHEMA, FrontPoint, FrontResult
from edgekiln.compiler.sweep.measures import facts_of
from edgekiln.compiler.sweep.nothing_found import nothing_found
from edgekiln.compiler.sweep.plan import SweepPlan
from edgekiln.compiler.sweep.run import Seen, run_trials
from edgekiln.compiler.sweep.study import SharedStudy
from edgekiln.runtime.documents import document
from edgekiln.runtime.results import BenchResult
from edgekiln.runtime.text import without_password

ShownTrials = Callable[[], AbstractContextManager[tuple[Advance, Seen]]]
BENCH_SECONDS = 1.0  # of each of the trials of the benchmark at the end


def directory_of(plan: SweepPlan) -> Path:
    """Where a search's front is written."""
    return plan.request.out / f"{display_name(plan.request.model)}-front"


def search(
    plan: SweepPlan,
    store: Store,
    store_url: str,
    shown_trials: ShownTrials,
    progress: Progress,
    *,
    bench_seconds: float = BENCH_SECONDS,
) -> FrontResult:
    """Run the trials that the study has not had yet, and write the front that it has then.

    Args:
        store_url: what other processes open `store` by, as `--store` has it.
        shown_trials: shows the trials while they run.
        progress: of what comes after them.
        bench_seconds: length of a trial of the benchmark at the end.

    Raises:
        GateError: no trial is within the limits.
        TrainingError: none came to its end, or a worker was killed.
        MismatchError: a program of the front does not compute what its model says.
        EdgeKilnError: what ends every trial.
    """
    with closing(SharedStudy(plan, store)) as study:
        with shown_trials() as (advance, seen):
            run_trials(plan, store, store_url, study, advance, seen)
        rows = study.rows()
        chosen = front_rows(rows, plan.objectives)
        if not chosen:
            raise nothing_found(plan, rows)
        with replaced(directory_of(plan), FRONT, "edgekiln search") as directory:
            points = [
                rebuilt(
                    plan, row, plan.candidate(study.values_of(row.number)), store, directory,
                    progress,
                )
                for row in chosen
            ]  # fmt: skip
            with progress("bench"):
                values, benches = spreads(plan, points, bench_seconds)
            result = _result(plan, study, points, values, benches)
            (directory / FRONT).write_text(document(SCHEMA, result) + "\n", encoding="utf-8")
            (directory / PAGE).write_text(front_page(result), encoding="utf-8")
    return result


def _result(
    plan: SweepPlan,
    study: SharedStudy,
    points: Sequence[RebuiltPoint],
    values: Sequence[Mapping[str, SpreadValue]],
    benches: Sequence[BenchResult],
) -> FrontResult:
    asked = plan.request
    whys = reasons(plan, [each.row.number for each in points], values)
    found = [
        FrontPoint(
            trial=point.row.number,
            on_front=not why,
            why=why,
            model=point.candidate.model,
            options=point.row.options,
            recipe=f"{point.home}/{RECIPE}",
            bundle=f"{point.home}/{point.bundle.name}",
            bundle_sha256=point.target.bundle_sha256,
            values=own,
            test=point.test,
            check=point.check,
        )
        for point, own, why in zip(points, values, whys, strict=True)
    ]
    cost = plan.objectives[1]
    sign = -1.0 if cost.maximized else 1.0
    objectives = plan.objectives
    return FrontResult(
        model=asked.model,
        target=asked.target.name,
        device=asked.device,
        machine=benches[0].machine if benches else None,
        data=plan.data,
        seed=asked.recipe.seed,
        study=asked.study,
        storage=without_password(asked.storage),
        sampler=asked.sampler,
        objectives=tuple(map(facts_of, objectives)),
        limited=tuple(facts_of(each) for each in plan.measures if each not in objectives),
        limits=tuple(map(str, plan.limits)),
        space={each.name: str(each.range) for each in plan.space},
        spent_s=round(study.spent_s(), 1),
        warnings=tuple(dict.fromkeys(text for each in benches for text in each.warnings)),
        points=tuple(sorted(found, key=lambda x: (sign * x.values[cost.name].value, x.trial))),
        trials=study.rows(),
        importances={
            each.name: shares
            for place, each in enumerate(objectives)
            if (shares := study.importances(place))
        },
    )


def reasons(
    plan: SweepPlan, trials: Sequence[int], values: Sequence[Mapping[str, SpreadValue]]
) -> list[str]:
    """Why each point is not on the front, now that it was measured well; "" if it is."""
    maximized = [each.maximized for each in plan.objectives]
    rows = [[own[each.name] for each in plan.objectives] for own in values]
    beyond = [
        " and ".join(str(x) for x in plan.limits if not x.holds(own[x.measure.name].value))
        for own in values
    ]
    found: list[str] = []
    for place, row in enumerate(rows):
        better = [
            trials[other]
            for other, theirs in enumerate(rows)
            if not beyond[other] and dominates(theirs, row, maximized)
        ]
        same = [
            trials[other]
            for other in range(place)
            if not found[other] and _alike(plan, rows[other], row)
        ]
        if beyond[place]:
            found.append(f"beyond {beyond[place]}")
        elif better:
            found.append(f"no better in anything than trial {better[0]}")
        else:
            found.append(f"the same as trial {same[0]}, as far as can be measured" if same else "")
    return found


def _alike(plan: SweepPlan, one: Sequence[SpreadValue], other: Sequence[SpreadValue]) -> bool:
    """Whether two points differ in nothing but the noise of a measurement."""
    return all(
        a.value == b.value or (measure.noisy and a.low <= b.high and b.low <= a.high)
        for measure, a, b in zip(plan.objectives, one, other, strict=True)
    )

"""A sweep from its plan to its result: workers, progress, and what is written at the end."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from edgekiln.compiler.build.resolve import display_name
from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.pipeline.stage import Advance
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.pipeline.worker_pool import WorkerCrash, WorkerPool
from edgekiln.compiler.sweep.page import page
from edgekiln.compiler.sweep.plan import SweepPlan
from edgekiln.compiler.sweep.recipe_text import recipe_text
from edgekiln.compiler.sweep.result import ObjectiveFacts, SweepResult, TrialRow, best_of
from edgekiln.compiler.sweep.storage import shown
from edgekiln.compiler.sweep.study import SharedStudy
from edgekiln.compiler.sweep.trial import Tell, held_out_scores
from edgekiln.compiler.sweep.work import work, work_apart
from edgekiln.runtime.errors import EdgeKilnError, GateError, TrainingError
from edgekiln.runtime.files import make_folder, written_whole
from edgekiln.runtime.text import counted

_LOOK_EVERY_S = 1.0  # at what workers have done


def sweep(plan: SweepPlan, store: Store, store_url: str, advance: Advance) -> SweepResult:
    """Run the trials that the study has not had yet, and write its page and its best recipe.

    Args:
        store_url: what other processes open `store` by, as `--store` has it.

    Raises:
        GateError: no trial is within the limits.
        TrainingError: none came to its end, or a worker was killed.
        EdgeKilnError: what ends every trial.
    """
    with closing(SharedStudy(plan, store)) as study:
        if plan.request.jobs == 1:
            work(plan, store, study, _teller(study, advance))
        else:
            _work_together(plan, study, store_url, advance)
        return _finished(plan, store, study, advance)


def _work_together(plan: SweepPlan, study: SharedStudy, store_url: str, advance: Advance) -> None:
    crashes = []
    try:
        with _shown(plan, study.store, advance), WorkerPool(plan.request.jobs, Path.cwd()) as pool:
            tasks = [(plan, store_url)] * plan.request.jobs
            for _, ended in pool.run(work_apart, tasks):
                if isinstance(ended, EdgeKilnError):
                    raise ended
                if isinstance(ended, WorkerCrash):
                    crashes.append(ended.how)
    finally:
        # Those that were stopped left their trials; the same command goes on with them.
        study.put_back_lost()
    if crashes and len(_ended(study.rows())) < plan.request.trials:
        raise TrainingError(
            f"{counted(len(crashes), 'worker')} ended before the study did: {crashes[0]}",
            "run the same command again to resume; with fewer --jobs each has more memory",
        )


@contextmanager
def _shown(plan: SweepPlan, store: Store, advance: Advance) -> Iterator[None]:
    """Look at the study now and then while the block runs, from a thread and connection of its
    own.
    """
    over = threading.Event()

    def look() -> None:
        with closing(SharedStudy(plan, store)) as study:
            while not over.wait(_LOOK_EVERY_S):
                rows = study.rows()
                numbers = ", ".join(str(row.number) for row in rows if row.state == "running")
                text = f"trials {numbers} under way" if numbers else ""
                advance(len(_ended(rows)), plan.request.trials, f"{_standing(plan, rows)}{text}")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _teller(study: SharedStudy, advance: Advance) -> Tell:
    """Progress of trials in this process: how the study stands is looked up once a stage."""
    plan, last, standing, done = study.plan, "", "", 0

    def tell(text: str) -> None:
        nonlocal last, standing, done
        doing = " ".join(text.split()[:3])  # "trial 4: distill"
        if doing != last:
            rows = study.rows()
            last, standing, done = doing, _standing(plan, rows), len(_ended(rows))
        advance(done, plan.request.trials, standing + text)

    return tell


def _standing(plan: SweepPlan, rows: Sequence[TrialRow]) -> str:
    best = _best(plan, rows)
    if best is None:
        return ""
    shown_value = plan.objective.shown(best.measures[plan.objective.name])
    return f"best {shown_value} (trial {best.number})  "


def _best(plan: SweepPlan, rows: Sequence[TrialRow]) -> TrialRow | None:
    return best_of(rows, plan.objective.name, plan.objective.metric.better)


def _ended(rows: Sequence[TrialRow]) -> list[TrialRow]:
    return [row for row in rows if row.state != "running"]


def _finished(plan: SweepPlan, store: Store, study: SharedStudy, advance: Advance) -> SweepResult:
    asked, rows = plan.request, study.rows()
    best = _best(plan, rows)
    name = display_name(asked.model)
    make_folder(asked.out)
    recipe_path, page_path = asked.out / f"{name}-best.toml", asked.out / f"{name}-sweep.html"
    test: tuple[Score, ...] = ()
    if best is not None:
        recipe = plan.recipe_with(study.values_of(best.number))
        if plan.labelled:
            tell = _teller(study, advance)
            test = held_out_scores(plan, recipe, store, lambda text: tell(f"best recipe: {text}"))
        with written_whole(recipe_path) as stream:
            stream.write(recipe_text(recipe, _heading(plan, best, test)).encode())
    objective = plan.objective.metric
    result = SweepResult(
        model=asked.model,
        target=asked.target.name,
        data=plan.data,
        seed=asked.recipe.seed,
        study=asked.study,
        storage=shown(asked.storage),
        objective=ObjectiveFacts(
            name=plan.objective.name,
            unit=objective.unit,
            better=objective.better,
            share=objective.share,
        ),
        limits=tuple(map(str, plan.limits)),
        space={each.name: str(each.range) for each in plan.space},
        asked=asked.trials,
        trials=rows,
        best=best.number if best else None,
        test=test,
        importances=study.importances(),
        recipe=str(recipe_path) if best else "",
        page=str(page_path),
    )
    with written_whole(page_path) as stream:
        stream.write(page(result, plan.measures).encode())
    if best is None:
        raise _without_best(plan, rows, page_path)
    return result


def _heading(plan: SweepPlan, best: TrialRow, test: Sequence[Score]) -> str:
    asked = plan.request
    values = ", ".join(f"{m.name} {m.shown(best.measures[m.name])}" for m in plan.measures)
    chosen = f"Trial {best.number} of study {asked.study}, the best by {plan.objective.name}"
    lines = [f"{chosen} on the validation split: {values}."]
    if test:
        lines.append(f"On the test split: {', '.join(f'{each.label} {each}' for each in test)}.")
    build = f"edgekiln build {asked.model} --recipe THIS --target {asked.target.name}"
    return "\n".join((*lines, build))


def _without_best(plan: SweepPlan, rows: Sequence[TrialRow], page_path: Path) -> EdgeKilnError:
    done = [row for row in rows if row.state == "done"]
    if not done:
        reasons = [row.reason for row in rows if row.reason]
        return TrainingError(
            f"none of {counted(len(rows), 'trial')} came to its end"
            + (f": {reasons[0]}" if reasons else ""),
            f"{page_path} has the reason of each; try other ranges",
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

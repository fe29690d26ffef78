"""The trials of a study, in this process or in several, and what of them is shown meanwhile."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from edgekiln.compiler.pipeline.stage import Advance
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.pipeline.worker_pool import WorkerCrash, WorkerPool
from edgekiln.compiler.sweep.front import front_rows
from edgekiln.compiler.sweep.plan import SweepPlan
from edgekiln.compiler.sweep.result import TrialRow, best_of
from edgekiln.compiler.sweep.study import SharedStudy
from edgekiln.compiler.sweep.trial import Tell
from edgekiln.compiler.sweep.work import work, work_apart
from edgekiln.runtime.errors import EdgeKilnError, TrainingError
from edgekiln.runtime.text import counted

_LOOK_EVERY_S = 1.0  # at what workers have done

Seen = Callable[[Sequence[TrialRow]], None]  # who is told of all trials so far, now and then


def run_trials(
    plan: SweepPlan,
    store: Store,
    store_url: str,
    study: SharedStudy,
    advance: Advance,
    seen: Seen = lambda _rows: None,
) -> None:
    """Run the trials that the study has not had yet.

    Args:
        store_url: what other processes open `store` by, as `--store` has it.

    Raises:
        TrainingError: a worker was killed.
        EdgeKilnError: what ends every trial.
    """
    if plan.request.jobs == 1:
        work(plan, store, study, teller(study, advance, seen))
    else:
        _work_together(plan, study, store_url, advance, seen)


def _work_together(
    plan: SweepPlan, study: SharedStudy, store_url: str, advance: Advance, seen: Seen
) -> None:
    crashes = []
    try:
        with (
            _shown(plan, study.store, advance, seen),
            WorkerPool(plan.request.jobs, Path.cwd()) as pool,
        ):
            tasks = [(plan, store_url)] * plan.request.jobs
            for _, ended in pool.run(work_apart, tasks):
                if isinstance(ended, EdgeKilnError):
                    raise ended
                if isinstance(ended, WorkerCrash):
                    crashes.append(ended.how)
    finally:
        # Those that were stopped left their trials; the same command goes on with them.
        study.put_back_lost()
    wanted = plan.request.trials
    if len(crashes) == plan.request.jobs or (
        crashes and wanted is not None and len(_ended(study.rows())) < wanted
    ):
        raise TrainingError(
            f"{counted(len(crashes), 'worker')} ended before the study did: {crashes[0]}",
            "run the same command again to resume; with fewer --jobs each has more memory",
        )


@contextmanager
def _shown(plan: SweepPlan, store: Store, advance: Advance, seen: Seen) -> Iterator[None]:
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
                seen(rows)
                advance(*_extent(study, rows), f"{_standing(plan, rows)}{text}")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def teller(study: SharedStudy, advance: Advance, seen: Seen = lambda _rows: None) -> Tell:
    """Progress of trials in this process: how the study stands is looked up once a stage."""
    plan, last, standing, extent = study.plan, "", "", (0, 0)

    def tell(text: str) -> None:
        nonlocal last, standing, extent
        doing = " ".join(text.split()[:3])  # "trial 4: distill"
        if doing != last:
            rows = study.rows()
            last, standing, extent = doing, _standing(plan, rows), _extent(study, rows)
            seen(rows)
        advance(*extent, standing + text)

    return tell


def _extent(study: SharedStudy, rows: Sequence[TrialRow]) -> tuple[int, int]:
    """How far the study is: trials, or seconds where nobody said how many trials."""
    asked = study.plan.request
    if asked.trials is not None:
        return len(_ended(rows)), asked.trials
    assert asked.budget_s is not None, "trials or a budget"
    return round(min(study.spent_s(), asked.budget_s)), round(asked.budget_s)


def _standing(plan: SweepPlan, rows: Sequence[TrialRow]) -> str:
    if len(plan.objectives) > 1:
        front = front_rows(rows, plan.objectives)
        done = counted(len(_ended(rows)), "trial")
        return f"{done}, {len(front)} on the front  " if front else ""
    best = best_row(plan, rows)
    if best is None:
        return ""
    shown_value = plan.objective.shown(best.measures[plan.objective.name])
    return f"best {shown_value} (trial {best.number})  "


def best_row(plan: SweepPlan, rows: Sequence[TrialRow]) -> TrialRow | None:
    """The best trial by the first objective."""
    return best_of(rows, plan.objective.name, plan.objective.metric.better)


def _ended(rows: Sequence[TrialRow]) -> list[TrialRow]:
    return [row for row in rows if row.state != "running"]

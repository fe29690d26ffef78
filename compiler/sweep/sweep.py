"""A sweep from its plan to its result: workers, progress, and what is written at the end."""

from collections.abc import Sequence
from contextlib import closing

from edgekiln.compiler.build.resolve import display_name
from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.pipeline.stage import Advance
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.sweep.measures import facts_of
from edgekiln.compiler.sweep.nothing_found import nothing_found
from edgekiln.compiler.sweep.page import page
from edgekiln.compiler.sweep.plan import SweepPlan
from edgekiln.compiler.sweep.recipe_text import quoted, recipe_text
from edgekiln.compiler.sweep.result import SweepResult, TrialRow
from edgekiln.compiler.sweep.run import best_row, run_trials, teller
from edgekiln.compiler.sweep.study import SharedStudy
from edgekiln.compiler.sweep.trial import held_out_scores
from edgekiln.runtime.files import make_folder, written_whole
from edgekiln.runtime.text import without_password


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
        run_trials(plan, store, store_url, study, advance)
        return _finished(plan, store, study, advance)


def _finished(plan: SweepPlan, store: Store, study: SharedStudy, advance: Advance) -> SweepResult:
    asked, rows = plan.request, study.rows()
    best = best_row(plan, rows)
    name = display_name(asked.model)
    make_folder(asked.out)
    recipe_path, page_path = asked.out / f"{name}-best.toml", asked.out / f"{name}-sweep.html"
    test: tuple[Score, ...] = ()
    built = ""
    if best is not None:
        candidate = plan.candidate(study.values_of(best.number))
        built = candidate.model
        if plan.labelled:
            tell = teller(study, advance)
            test = held_out_scores(
                plan, candidate, store, lambda text: tell(f"best recipe: {text}")
            )
        with written_whole(recipe_path) as stream:
            stream.write(recipe_text(candidate.recipe, _heading(plan, best, built, test)).encode())
    result = SweepResult(
        model=asked.model,
        target=asked.target.name,
        data=plan.data,
        seed=asked.recipe.seed,
        study=asked.study,
        storage=without_password(asked.storage),
        objective=facts_of(plan.objective),
        limits=tuple(map(str, plan.limits)),
        space={each.name: str(each.range) for each in plan.space},
        asked=asked.trials or len(rows),
        trials=rows,
        best=best.number if best else None,
        built=built,
        test=test,
        importances=study.importances(),
        recipe=str(recipe_path) if best else "",
        page=str(page_path),
    )
    with written_whole(page_path) as stream:
        stream.write(page(result, plan.measures).encode())
    if best is None:
        raise nothing_found(plan, rows, page_path)
    return result


def _heading(plan: SweepPlan, best: TrialRow, built: str, test: Sequence[Score]) -> str:
    asked = plan.request
    values = ", ".join(f"{m.name} {m.shown(best.measures[m.name])}" for m in plan.measures)
    chosen = f"Trial {best.number} of study {asked.study}, the best by {plan.objective.name}"
    lines = [f"{chosen} on the validation split: {values}."]
    if test:
        lines.append(f"On the test split: {', '.join(f'{each.label} {each}' for each in test)}.")
    build = f"edgekiln build {quoted(built)} --recipe THIS --target {asked.target.name}"
    return "\n".join((*lines, build))

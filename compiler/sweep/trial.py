"""One trial: a build up to what is measured, judged on the validation split."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from edgekiln.compiler.build import driver, scoring
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.evaluation.report import Evaluation
from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.pipeline import locks
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.stage import Advance, OnEpoch
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.sweep.plan import SweepPlan
from edgekiln.runtime import codec
from edgekiln.runtime.errors import MeasurementError

_TRIAL_S = 0.3  # of each of the trials of a latency

Tell = Callable[[str], None]  # a short text: what a trial is doing


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What came of a trial."""

    values: Mapping[str, float]  # by the measures' names: those of the plan
    sha256: str  # of the model


def run_trial(
    plan: SweepPlan,
    recipe: Recipe,
    store: Store,
    watch: Callable[[str], OnEpoch],
    tell: Tell,
) -> Judged:
    """Build what the plan measures, and measure it.

    Raises:
        EdgeKilnError: from the stages.
        MeasurementError: a measure is no finite number.
    """
    request = replace(plan.build_request(recipe), watch=watch)
    build = driver.Build(request, store, _progress(tell), plan.chain)
    artifact = build.start()
    metrics: dict[str, float] = {}
    for name in build.shared_stages(artifact):
        artifact = build.run_stage(name, artifact, None)
        metrics |= artifact.metrics
    lib = build.run_stage("compile", artifact, plan.request.target) if plan.compiled else None
    values = _measured(plan, build, artifact, metrics, lib)
    for name, value in values.items():
        if not math.isfinite(value):
            raise MeasurementError(f"{name} is {value}", "judge by another measure")
    return Judged(values=values, sha256=artifact.sha256)


def held_out_scores(plan: SweepPlan, recipe: Recipe, store: Store, tell: Tell) -> tuple[Score, ...]:
    """How good the model of a recipe is on the test split, which nothing was chosen by."""
    build = driver.Build(plan.build_request(recipe), store, _progress(tell), plan.chain)
    artifact = build.start()
    for name in build.shared_stages(artifact):
        artifact = build.run_stage(name, artifact, None)
    return scoring.scores_of(_evaluation(plan, build, artifact, "test"))


def _measured(
    plan: SweepPlan,
    build: driver.Build,
    model: Artifact,
    metrics: Mapping[str, float],
    lib: Artifact | None,
) -> Mapping[str, float]:
    needs = {each.needs for each in plan.measures}
    found: dict[str, float] = {}
    if "score" in needs:
        report = _evaluation(plan, build, model, "val")
        found |= {each.label: each.value for each in report.measured}
    if "model" in needs:
        costs = plan.chain.costs(model, build.allow)
        found |= {"macs": float(costs.macs), "parameters": float(costs.parameters or 0)}
        if "sqnr_db" in metrics:
            found["sqnr"] = metrics["sqnr_db"]
    if lib is not None:
        sizes = lib.metrics
        found["bytes"] = float(sizes.get("code_bytes", 0) + sizes.get("weights_bytes", 0))
        found["arena"] = float(sizes.get("arena_bytes", 0))
        if "run" in needs:
            found["latency"] = _latency_s(lib, build.store)
        if "estimate" in needs:
            from edgekiln.compiler.estimate.program import program

            found["cycles"] = program(lib.path, target=plan.request.target).total.cycles
    missing = [each.name for each in plan.measures if each.name not in found]
    if missing:
        raise MeasurementError(
            f"the build does not tell its {missing[0]}", "judge by another measure"
        )
    return {each.name: found[each.name] for each in plan.measures}


def _evaluation(plan: SweepPlan, build: driver.Build, model: Artifact, split: str) -> Evaluation:
    recipe = build.request.recipe
    fitting = {"data": plan.data, "seed": recipe.seed, "split": split}
    stage = recipe.stage(plan.chain.stage("evaluate"), fitting, {})
    with build.progress("evaluate") as advance:
        report = build.store.run(stage, model, None, advance, allow=build.allow)
    return codec.decode(Evaluation, json.loads(report.path.read_text(encoding="utf-8")))


def _latency_s(lib: Artifact, store: Store) -> float:
    """The median time of a run here. One worker measures at a time; the others go on training."""
    from edgekiln.runtime.bench import bench

    with locks.exclusive(store.locks / "sweep-latency", lambda _who: None):
        return bench(lib.path, min_seconds=_TRIAL_S).median_s


def _progress(tell: Tell) -> driver.Progress:
    @contextmanager
    def progress(label: str) -> Iterator[Advance]:
        tell(label)
        yield lambda _done, _total, text: tell(f"{label} {text}")

    return progress

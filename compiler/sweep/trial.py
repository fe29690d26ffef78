"""One trial: a build up to what is measured, judged on the validation split."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from edgekiln.compiler.build import driver, scoring
from edgekiln.compiler.evaluation.report import Evaluation
from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.pipeline import locks
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.stage import Advance, OnEpoch
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.sweep.measures import ENERGY
from edgekiln.compiler.sweep.needs import power_of, trial_seconds
from edgekiln.compiler.sweep.plan import Candidate, SweepPlan
from edgekiln.runtime import codec
from edgekiln.runtime.errors import MeasurementError

Tell = Callable[[str], None]  # a short text: what a trial is doing


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What came of a trial."""

    values: Mapping[str, float]  # by the measures' names: those of the plan
    sha256: str  # of the model


def run_trial(
    plan: SweepPlan,
    candidate: Candidate,
    store: Store,
    watch: Callable[[str], OnEpoch],
    tell: Tell,
) -> Judged:
    """Build what the plan measures, and measure it.

    Raises:
        EdgeKilnError: from the stages.
        MeasurementError: a measure is no finite number.
    """
    request = replace(plan.build_request(candidate), watch=watch)
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


def held_out_scores(
    plan: SweepPlan, candidate: Candidate, store: Store, tell: Tell
) -> tuple[Score, ...]:
    """How good a candidate's model is on the test split, which nothing was chosen by."""
    build = driver.Build(plan.build_request(candidate), store, _progress(tell), plan.chain)
    artifact = build.start()
    for name in build.shared_stages(artifact):
        artifact = build.run_stage(name, artifact, None)
    return scoring.scores_of(evaluation(build, artifact, "test"))


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
        report = evaluation(build, model, "val")
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
            found |= _run_costs(plan, lib, build.store)
        if "estimate" in needs:
            from edgekiln.compiler.estimate.program import program

            found["cycles"] = program(lib.path, target=plan.request.target).total.cycles
    missing = [each.name for each in plan.measures if each.name not in found]
    if missing:
        raise MeasurementError(
            f"the build does not tell its {missing[0]}", "judge by another measure"
        )
    return {each.name: found[each.name] for each in plan.measures}


def evaluation(build: driver.Build, model: Artifact, split: Literal["val", "test"]) -> Evaluation:
    """How good a model of a build is on the samples of a split."""
    recipe = build.request.recipe
    fitting = {"data": build.data, "seed": recipe.seed, "split": split}
    stage = recipe.stage(build.chain.stage("evaluate"), fitting, {})
    with build.progress("evaluate") as advance:
        report = build.store.run(stage, model, None, advance, allow=build.allow)
    return codec.decode(Evaluation, json.loads(report.path.read_text(encoding="utf-8")))


def _run_costs(plan: SweepPlan, lib: Artifact, store: Store) -> Mapping[str, float]:
    """The median time of a run, and its joules where they count. One worker measures at a time; the
    others go on training.
    """
    from edgekiln.compiler.devices.named import open_device
    from edgekiln.runtime.bench import bench

    device = plan.request.device
    with locks.exclusive(store.locks / "sweep-latency", lambda _who: None):
        found = bench(
            lib.path,
            min_seconds=trial_seconds(plan.measures),
            power=power_of(plan.measures),
            device=open_device(device, lib.path) if device else None,
        )
    costs = {"latency": found.median_s}
    if found.energy is not None:
        costs[ENERGY] = found.energy.gross_j
    elif power_of(plan.measures) != "none":
        raise MeasurementError(
            f"energy: {found.energy_unavailable}", "leave energy out of --objectives"
        )
    return costs


def _progress(tell: Tell) -> driver.Progress:
    @contextmanager
    def progress(label: str) -> Iterator[Advance]:
        tell(label)
        yield lambda _done, _total, text: tell(f"{label} {text}")

    return progress

"""The points of a front: built again from their recipes, measured side by side, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekiln.compiler.build.bundle_check import check_bundle
from edgekiln.compiler.build.driver import Build, Progress
from edgekiln.compiler.build.result import BuildResult, TargetResult
from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.sweep.front import SpreadValue, standard_error
from edgekiln.compiler.sweep.front_document import PointCheck
from edgekiln.compiler.sweep.measures import ENERGY, Measure
from edgekiln.compiler.sweep.needs import power_of, trial_seconds
from edgekiln.compiler.sweep.plan import Candidate, SweepPlan
from edgekiln.compiler.sweep.recipe_text import quoted, recipe_text
from edgekiln.compiler.sweep.result import TrialRow
from edgekiln.compiler.sweep.trial import evaluation
from edgekiln.runtime.errors import MeasurementError
from edgekiln.runtime.results import BenchResult

RECIPE = "recipe.toml"
TRIALS = 5  # of the benchmark at the end


@dataclass(frozen=True, kw_only=True)
class RebuiltPoint:
    """A trial's bundle and recipe, in a directory of its own."""

    row: TrialRow
    candidate: Candidate
    home: str  # name of the directory
    target: TargetResult
    validation: int  # samples of the validation split; 0: it has no labels
    test: tuple[Score, ...]
    check: PointCheck

    @property
    def bundle(self) -> Path:
        """Where it lies now."""
        return Path(self.target.bundle)


def rebuilt(
    plan: SweepPlan,
    row: TrialRow,
    candidate: Candidate,
    store: Store,
    directory: Path,
    progress: Progress,
) -> RebuiltPoint:
    """Build a trial's bundle, nearly all of it found in the store, and check that it computes what
    its model says.

    Raises:
        MismatchError: it does not.
        EdgeKilnError: from the stages, or the device.
    """
    home = f"trial-{row.number}"
    request = replace(plan.build_request(candidate), out=directory / home)
    build = Build(request, store, progress, plan.chain)
    result = build.run()
    (target,) = result.targets
    text = recipe_text(candidate.recipe, _heading(plan, row, candidate))
    (directory / home / RECIPE).write_text(text, encoding="utf-8")
    validation = 0
    if build.labelled:
        validation = evaluation(build, build.artifacts["onnx-int8"], "val").n
    with progress(f"check {home}"):
        check = _checked(plan, build, target, store)
    return RebuiltPoint(
        row=row,
        candidate=candidate,
        home=home,
        target=target,
        validation=validation,
        test=_test_scores(result),
        check=check,
    )


def spreads(
    plan: SweepPlan, points: Sequence[RebuiltPoint], seconds: float
) -> tuple[list[Mapping[str, SpreadValue]], list[BenchResult]]:
    """The plan's measures of each point, and the benchmark that they were taken from, if any.

    Args:
        seconds: length of a trial of the benchmark; what energy needs where that is more.

    Raises:
        MeasurementError, DeviceError: as `edgekiln.runtime.bench`.
    """
    benches: list[BenchResult] = []
    if any(each.noisy for each in plan.measures):
        from edgekiln.compiler.devices.named import open_device
        from edgekiln.runtime.bench import bench_together

        device, power = plan.request.device, power_of(plan.measures)
        least_s = trial_seconds(plan.measures) if power != "none" else 0.0
        benches = bench_together(
            [each.bundle for each in points],
            trials=TRIALS,
            min_seconds=max(seconds, least_s),
            power=power,
            device=open_device(device, points[0].bundle) if device else None,
        )
    measured: Sequence[BenchResult | None] = benches or [None] * len(points)
    found: list[Mapping[str, SpreadValue]] = [
        {each.name: _spread(each, point, bench) for each in plan.measures}
        for point, bench in zip(points, measured, strict=True)
    ]
    return found, benches


def _spread(measure: Measure, point: RebuiltPoint, bench: BenchResult | None) -> SpreadValue:
    value = point.row.measures[measure.name]
    if bench is not None and measure.noisy:
        return _energy(bench) if measure.name == ENERGY else _latency(bench)
    if measure.name == "bytes":
        return SpreadValue.exact(float(point.target.code_bytes + point.target.weights_bytes))
    if measure.name == "arena":
        return SpreadValue.exact(float(point.target.arena_bytes))
    if measure.needs == "score" and measure.metric.share and point.validation:
        return SpreadValue.around(value, standard_error(value, point.validation))
    return SpreadValue.exact(value)


def _latency(bench: BenchResult) -> SpreadValue:
    medians = [trial.median_s for trial in bench.trials]
    return SpreadValue(value=bench.median_s, low=min(medians), high=max(medians))


def _energy(bench: BenchResult) -> SpreadValue:
    if bench.energy is None:
        raise MeasurementError(
            f"energy: {bench.energy_unavailable}", "leave energy out of --objectives"
        )
    trials = bench.energy.trials_gross_j
    return SpreadValue(value=bench.energy.gross_j, low=min(trials), high=max(trials))


def _test_scores(result: BuildResult) -> tuple[Score, ...]:
    """How good the quantized model is, as the build measured it."""
    scored = [step for step in result.steps if not step.target and step.score is not None]
    return scored[-1].scores if scored else ()


def _checked(plan: SweepPlan, build: Build, target: TargetResult, store: Store) -> PointCheck:
    bundle = Artifact(path=Path(target.bundle), kind="bundle", sha256=target.bundle_sha256)
    found = check_bundle(
        bundle, plan.request.target, store, device=plan.request.device, data=build.data,
        seed=build.request.recipe.seed,
    )  # fmt: skip
    return PointCheck(
        where=found.where,
        reason=found.reason,
        equal=found.equal,
        samples=found.samples,
        layers=len(found.layers),
    )


def _heading(plan: SweepPlan, row: TrialRow, candidate: Candidate) -> str:
    asked = plan.request
    return (
        f"Trial {row.number} of study {asked.study}.\n"
        f"edgekiln build {quoted(candidate.model)} --recipe THIS --target {asked.target.name}"
    )

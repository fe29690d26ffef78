"""The build: stages in a row, a measurement after each, one bundle a target."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekiln.compiler.build import raw_data, resolve, scoring
from edgekiln.compiler.build.chain import CHAIN, Chain
from edgekiln.compiler.build.limits import AskedLimits
from edgekiln.compiler.build.price import price
from edgekiln.compiler.build.recipe import Precision, Recipe
from edgekiln.compiler.build.result import BuildResult, Step, TargetResult, finite
from edgekiln.compiler.environment import doctor, toolchain
from edgekiln.compiler.evaluation.agreement import Agreement
from edgekiln.compiler.evaluation.latency import Latency
from edgekiln.compiler.evaluation.report import Evaluation
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.atomic_io import copy_out, writable
from edgekiln.compiler.pipeline.source_models import reads_text
from edgekiln.compiler.pipeline.stage import Advance, OnEpoch, unwatched
from edgekiln.compiler.pipeline.store import Store
from edgekiln.models.data.options import with_task
from edgekiln.runtime import codec, host
from edgekiln.runtime.errors import ConfigError, EdgeKilnError, StorageError
from edgekiln.targets.profile import TargetProfile

ENTRANCES: tuple[Kind, ...] = ("module", "onnx", "onnx-int8")  # what a build may begin with
PER_TARGET = ("compile", "package")
NO_DATA = "no data: --data measures accuracy, --calibrate the agreement with the float model"
NO_REFERENCE = "the data has no labels, and there is no float ONNX model to be held against"
IS_REFERENCE = "the float model, which the others are held against"

Progress = Callable[[str], AbstractContextManager[Advance]]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for."""

    model: str
    targets: tuple[TargetProfile, ...]
    recipe: Recipe
    precision: Precision = "int8"
    out: Path
    max_drops: Mapping[str, float] = field(default_factory=dict)  # see `scoring.check_drop`
    min_sqnr_db: float | None = None  # against the float model
    trial_s: float = 1.0  # length of a latency trial; 0: measure none
    logs: Path | None = None  # where training curves go
    watch: Callable[[str], OnEpoch] = lambda _stage: unwatched  # who is told of a stage's epochs
    check_ir: bool = False  # check the graph after each pass
    dump_ir: Path | None = None  # where the graphs go as text


def build(request: Request, store: Store, progress: Progress, chain: Chain = CHAIN) -> BuildResult:
    """Run the chain from where the input stands. What was built before is found, not made.

    Raises:
        MissingToolError, StorageError: before anything runs, when a target's compiler is not
            there or the bundles cannot be written.
        AccuracyError: a stage lost more than `max_drops`.
        EdgeKilnError: from the stages.
    """
    names = [target.name for target in request.targets]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"target {min(doubled)} is given twice")
    for target in request.targets:
        toolchain.require(target)
    if not writable(request.out.absolute()):
        raise StorageError(f"{request.out} cannot be written", "choose another directory by --out")
    return Build(request, store, progress, chain).run()


class Build:
    """One build under way: its steps so far."""

    def __init__(self, request: Request, store: Store, progress: Progress, chain: Chain) -> None:
        self.request = request
        self.store = store
        self.progress = progress
        self.chain = chain
        self.steps: list[Step] = []
        self.artifacts: dict[str, Artifact] = {}  # of the shared stages, by kind
        self.done: tuple[str, ...] = ()  # stages that the user's module has behind it
        self.data = request.recipe.data or request.recipe.calibrate
        self.labelled = True  # whether the data tells how good a model is
        self.name = resolve.display_name(request.model)
        self.allow = resolve.allowed(request.model, request.recipe)

    def run(self) -> BuildResult:
        artifact = self.start()
        if resolve.is_file(self.request.model):
            self._record("input", artifact, None)
        for name in self.shared_stages(artifact):
            artifact = self._stage(name, artifact)
        targets = tuple(self._target(target, artifact) for target in self.request.targets)
        return BuildResult(
            model=self.request.model,
            data=self.data,
            calibrate=self.request.recipe.calibrate,
            seed=self.request.recipe.seed,
            precision=self.request.precision,
            machine=host.machine(),
            steps=tuple(self.steps),
            targets=targets,
        )

    def start(self) -> Artifact:
        """The input as an artifact."""
        request = self.request
        with self.progress("input") as advance:
            artifact = resolve.start(
                self.store, request.model, request.recipe, advance, self.chain.enter
            )
        if artifact.kind not in ENTRANCES:
            raise ConfigError(
                f"{request.model} is {resolve.WORDS[artifact.kind]}: there is nothing left to "
                "build",
                "a build takes a zoo name, package.module:factory, .pt, .onnx, .tflite or .pt2",
            )
        if artifact.kind == "onnx-int8" and request.precision != "int8":
            raise ConfigError(
                f"{request.model} is quantized: it cannot become a {request.precision} program",
                "give the float model it was made from",
            )
        self.artifacts[artifact.kind] = artifact
        own = self.chain.data_of(artifact)
        own = with_task(own, request.recipe.task) if own else ""
        self.data = request.recipe.data or own or request.recipe.calibrate
        self.labelled = bool(self.data) and self.chain.scores(self.data, request.recipe.seed)
        AskedLimits(
            model=request.model, entered=artifact.kind, precision=request.precision,
            data=self.data, labelled=self.labelled, drop=bool(request.max_drops),
            signal=request.min_sqnr_db is not None,
        ).check()  # fmt: skip
        if resolve.is_file(request.model):
            self.done = self.chain.done_stages(artifact)
        return artifact

    def shared_stages(self, artifact: Artifact) -> Iterator[str]:
        """The stages from where the input stands to the model that is compiled."""
        left_out = PER_TARGET if self.request.precision == "int8" else (*PER_TARGET, "quantize")
        order = [name for name in self.chain.stages if name not in left_out]
        taking = (i for i, name in enumerate(order) if artifact.kind in self._takes(name))
        for name in order[next(taking, len(order)) :]:
            recipe = self.request.recipe
            if name not in (*recipe.skip, *self.done, *raw_data.unasked(recipe)):
                yield name

    def _takes(self, name: str) -> tuple[Kind, ...]:
        return self.chain.stage(name).takes

    def _stage(self, name: str, src: Artifact, target: TargetProfile | None = None) -> Artifact:
        artifact = self.run_stage(name, src, target)
        # What is held against others, and measured beside them, is what ONNX Runtime can run.
        if target is None and not reads_text(artifact.chain[-1]):
            self.artifacts[artifact.kind] = artifact
        self._record(name, artifact, target)
        return artifact

    def run_stage(
        self, name: str, src: Artifact, target: TargetProfile | None, **given: object
    ) -> Artifact:
        """What a stage makes of `src`, found or made, and unscored."""
        recipe = self.request.recipe
        foreign = raw_data.unscored(src, self.labelled)
        fitting = {
            "data": "" if foreign else self.data,
            "seed": recipe.seed,
            "program": self.name,
            "channel_multiple": self._channel_multiple(),
            **self._control(name),
            "build_targets": self.request.targets,
        }
        stage = recipe.stage(self.chain.stage(name), fitting, given)
        label = f"{name} {target.name}" if target else name
        with self.progress(label) as advance:
            on_epoch, logs = self.request.watch(name), self.request.logs
            return self.store.run(stage, src, target, advance, logs, self.allow, on_epoch)

    def _control(self, name: str) -> dict[str, object]:
        """Quantization meets what it may lose by itself; other stages are stopped when they lose
        more.
        """
        if name != "quantize":
            return {}
        found: dict[str, object] = {}
        if self.request.max_drops and self.labelled:
            left = scoring.drop_left(self.steps, self.request.max_drops)
            found |= {"max_drop": left, "validation": self.data}
        if self.request.min_sqnr_db is not None:
            found["min_sqnr"] = self.request.min_sqnr_db
        return found

    def _channel_multiple(self) -> int:
        """Pruned widths must fill the vectors of every target."""
        return math.lcm(*(target.channel_multiple for target in self.request.targets))

    def _record(self, name: str, artifact: Artifact, target: TargetProfile | None) -> None:
        """Measure the artifact, add the row to the table, and stop if too much was lost."""
        report, unscored = self._evaluate(artifact, target)
        scores = scoring.scores_of(report) if report else ()
        score = scores[0] if scores else None
        costs = report or self.chain.costs(artifact, self.allow)
        # Only the user's own model comes trained for preprocessing that we cannot know.
        doubt = scoring.doubt(score, self.data, self.request.recipe.seed) if name == "input" else ""
        step = Step(
            stage=name,
            target=target.name if target else "",
            sha256=artifact.sha256,
            file_bytes=costs.file_bytes,
            score=score,
            further_scores=scores[1:],
            unscored=unscored,
            parameters=costs.parameters,
            macs=costs.macs,
            metrics=finite(artifact.metrics),
            notes=artifact.notes,
            ladder=self.chain.ladder_of(artifact),
            remark="; ".join(filter(None, (artifact.remark, doubt))),
            wall_s=artifact.wall_s,
            cached=artifact.cached,
            curves=artifact.curves,
        )
        self.steps.append(step)
        if self.request.max_drops:
            scoring.check_drop(self.steps, step, self.request.max_drops)
        if self.request.min_sqnr_db is not None:
            scoring.check_agreement(step, self.request.min_sqnr_db)

    def _evaluate(
        self, artifact: Artifact, target: TargetProfile | None
    ) -> tuple[Evaluation | Agreement | None, str]:
        """The evaluation's report, or why there is none."""
        if not self.data:
            return None, NO_DATA
        if reason := raw_data.unscored(artifact, self.labelled):
            return None, reason
        if not self.labelled and "onnx" not in self.artifacts:
            return None, NO_REFERENCE
        if not self.labelled and artifact is self.artifacts["onnx"]:
            return None, IS_REFERENCE
        fitting: dict[str, object] = {"data": self.data, "seed": self.request.recipe.seed}
        if not self.labelled:
            fitting["reference"] = str(self.artifacts["onnx"].path)
        scorer = self.chain.stage("evaluate" if self.labelled else "agree")
        stage = self.request.recipe.stage(scorer, fitting, {})
        try:
            with self.progress("evaluate" if self.labelled else "agree") as advance:
                report = self.store.run(stage, artifact, None, advance, allow=self.allow)
        except EdgeKilnError as error:
            if reason := scoring.not_run(target, error):
                return None, reason
            raise
        content = json.loads(report.path.read_text(encoding="utf-8"))
        kind: type[Evaluation] | type[Agreement] = Evaluation if self.labelled else Agreement
        return codec.decode(kind, content), ""

    def _target(self, target: TargetProfile, model: Artifact) -> TargetResult:
        """Compile and package for one target."""
        self._inspect(target, model)
        lib = self._stage("compile", model, target)
        steps = [step.lasting() for step in self.steps if step.target in ("", target.name)]
        bundle = self.run_stage("package", lib, target, steps=tuple(steps))
        path = self.request.out / f"{self._bundle_name(target)}.ekb"
        copy_out(bundle.path, path)
        result = self.chain.target_result(target, path, bundle.sha256)
        latencies, unmeasured = self._measure(target, path)
        real, trial_s = self.artifacts.get("onnx"), self.request.trial_s
        paid = price(self.run_stage, self.steps, real, lib, target, latencies, trial_s)
        return replace(
            result, latencies=latencies, unmeasured=unmeasured, price=paid, notes=bundle.notes
        )

    def _inspect(self, target: TargetProfile, model: Artifact) -> None:
        """Check the compiler's graphs and write them out, as far as that was asked for."""
        from edgekiln.compiler.stages.compile import inspect_passes

        check, dump = self.request.check_ir, self.request.dump_ir
        if check or dump:
            batch = self.request.recipe.options.get("compile", {}).get("batch", 1)
            home = dump / target.name if dump else None
            inspect_passes(model.path, target, batch, check=check, dump=home)

    def _bundle_name(self, target: TargetProfile) -> str:
        precision = self.request.precision
        return f"{self.name}-{target.name}" + (f"-{precision}" if precision != "int8" else "")

    def _measure(self, target: TargetProfile, bundle: Path) -> tuple[tuple[Latency, ...], str]:
        """Ours, ONNX Runtime's int8 and float, in turn; or why there is no measurement."""
        if reason := doctor.foreign(target):
            return (), reason
        if not self.request.trial_s:
            return (), "--bench-seconds 0"
        models = raw_data.beside(self.artifacts, self.run_stage)
        with self.progress(f"bench {target.name}"):
            return scoring.latencies(target, bundle, models, self.request.trial_s)

"""Evaluate: how good any artifact of the chain is, always on the same held-out samples."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.stages.uses_data import data_of_onnx, used_data
from edgekiln.compiler.stages.uses_module import data_of_module, used_factory
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    from edgekiln.targets.profile import TargetProfile


@dataclass(frozen=True, kw_only=True)
class EvaluateStage(Stage):
    """Run the test split through the model, and measure what its tasks say: accuracy, RMSE, mAP, ….
    Choices between models are made on the validation split.

    Another machine's program runs under QEMU, a large one on the first samples only. The report is
    an `Evaluation` as JSON.
    """

    name: ClassVar[str] = "evaluate"
    takes: ClassVar[tuple[Kind, ...]] = ("module", "onnx", "onnx-int8", "lib")
    gives: ClassVar[Kind] = "report"
    suffix: ClassVar[str] = ".json"
    tools: ClassVar[tuple[str, ...]] = ("torch", "onnxruntime", "numpy")

    samples: int = field(
        default=0,
        metadata={"help": "Test on this many samples, the first ones; 0 takes all there are."},
    )
    data: str = field(
        default="",
        metadata={"help": "Test on this data set, a name or a path (default: the model's own)."},
    )
    seed: int = field(default=0, metadata={"help": "Split the data set by this seed."})
    split: Literal["test", "val"] = field(default="test", metadata={"option": False})

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise ConfigError(f"evaluate: samples = {self.samples}", hint="0 takes all there are")

    def settled(self, src: Artifact | None) -> Self:
        return replace(self, data=self.data or data_of_module(src) or data_of_onnx(src))

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        return {**used_data(self.data, self.seed), **used_factory(src)}

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.evaluation.report import Examination
        from edgekiln.compiler.evaluation.subject import open_subject
        from edgekiln.compiler.onnx_model.feed import feed_for
        from edgekiln.runtime import codec
        from edgekiln.runtime.files import written_whole

        subject = open_subject(src, ctx.allow)
        feed = feed_for(subject.meta, subject.takes, data=self.data, seed=self.seed)
        if not feed.scored:
            raise ConfigError(
                f"{feed.name}: its samples have no labels: no accuracy",
                hint="`edgekiln build` shows how a model agrees with the float one on them",
            )
        # An AUC takes both kinds of samples, which may lie far apart.
        whole = any(head.task.best_by == "loss" for head in feed.heads)
        samples = self.samples or (0 if whole else subject.samples_in_time)
        total = min(samples or feed.count(self.split), feed.count(self.split))
        examination = Examination(feed.name, feed.heads, feed.facts, feed.targets(self.split))
        done = 0
        for given in feed.batches(self.split, batch=subject.batch, samples=samples):
            count = feed.takes.samples_in(given)
            # The first output counts: (count, classes), or an autoencoder's copy of its input.
            outputs = dict(zip(subject.gives, subject.predict(given), strict=True))
            examination.add(outputs, given, count)
            done += count
            ctx.advance(done, total, "evaluating")
        report = examination.report(subject.costs)
        with written_whole(dst) as stream:
            stream.write(codec.to_json(report).encode())
        return {**{each.key: each.value for each in report.measured}, "n": report.n}

"""Evaluate: how good any artifact of the chain is, always on the same held-out samples."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.stages.uses_data import data_of_onnx, used_data
from edgekiln.compiler.stages.uses_module import (
    data_of_module,
    require_allowed_factory,
    used_factory,
)
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

    def require_allowed(self, src: Artifact | None, allow: frozenset[str]) -> None:
        require_allowed_factory(src, allow)

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        return {**used_data(self.data, self.seed), **used_factory(src)}

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.evaluation.examine import examine
        from edgekiln.compiler.evaluation.subject import open_subject
        from edgekiln.runtime import codec
        from edgekiln.runtime.files import written_whole

        subject = open_subject(src, ctx.allow)
        report = examine(
            subject, data=self.data, seed=self.seed, split=self.split, samples=self.samples,
            advance=ctx.advance,
        )  # fmt: skip
        with written_whole(dst) as stream:
            stream.write(codec.to_json(report).encode())
        return {**{each.key: each.value for each in report.measured}, "n": report.n}

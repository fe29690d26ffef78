"""A chain of stages that only write texts, to see what a build does with it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgekiln.compiler.build.chain import Chain
from edgekiln.compiler.build.resolve import EnteredFile
from edgekiln.compiler.build.result import TargetResult
from edgekiln.compiler.evaluation.report import Costs, Evaluation
from edgekiln.compiler.packaging.report import StageReport
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.models.tasks.metric import ACCURACY
from edgekiln.models.tasks.tally import Measured
from edgekiln.runtime.codec import encode
from edgekiln.runtime.errors import MissingToolError
from edgekiln.targets.profile import TargetProfile


@dataclass(frozen=True, kw_only=True)
class Note(Stage):
    """Appends its name and options to the text it reads; the accuracy is the last number in it."""

    accuracy: float = 0.9
    seed: int = 0

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        device = f" {ctx.target.name}" if ctx.target else ""
        dst.write_text(f"{src.path.read_text()}\n{self.words()}{device} {self.accuracy}")
        return {}

    def words(self) -> str:
        return self.name


@dataclass(frozen=True, kw_only=True)
class Distill(Note):
    name: ClassVar[str] = "distill"
    takes: ClassVar[tuple[Kind, ...]] = ("module",)
    gives: ClassVar[Kind] = "module"
    suffix: ClassVar[str] = ".pt"


@dataclass(frozen=True, kw_only=True)
class Prune(Note):
    name: ClassVar[str] = "prune"
    takes: ClassVar[tuple[Kind, ...]] = ("module",)
    gives: ClassVar[Kind] = "module"
    suffix: ClassVar[str] = ".pt"
    channel_multiple: int = 1

    def words(self) -> str:
        return f"prune×{self.channel_multiple}"


@dataclass(frozen=True, kw_only=True)
class Export(Note):
    name: ClassVar[str] = "export"
    takes: ClassVar[tuple[Kind, ...]] = ("module",)
    gives: ClassVar[Kind] = "onnx"
    suffix: ClassVar[str] = ".onnx"


@dataclass(frozen=True, kw_only=True)
class Tidy(Note):
    """Of no chain unless a test puts it there: it gives what it takes, in the middle."""

    name: ClassVar[str] = "tidy"
    takes: ClassVar[tuple[Kind, ...]] = ("onnx",)
    gives: ClassVar[Kind] = "onnx"
    suffix: ClassVar[str] = ".onnx"


@dataclass(frozen=True, kw_only=True)
class Quantize(Note):
    name: ClassVar[str] = "quantize"
    takes: ClassVar[tuple[Kind, ...]] = ("onnx",)
    gives: ClassVar[Kind] = "onnx-int8"
    suffix: ClassVar[str] = ".onnx"


@dataclass(frozen=True, kw_only=True)
class Compile(Note):
    name: ClassVar[str] = "compile"
    takes: ClassVar[tuple[Kind, ...]] = ("onnx-int8",)
    gives: ClassVar[Kind] = "lib"
    suffix: ClassVar[str] = ".lib"
    uses_target: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class Package(Note):
    name: ClassVar[str] = "package"
    takes: ClassVar[tuple[Kind, ...]] = ("lib",)
    gives: ClassVar[Kind] = "bundle"
    suffix: ClassVar[str] = ".ekb"
    steps: tuple[StageReport, ...] = ()

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:  # noqa: ARG002
        chain = [record["stage"] for record in src.chain]
        rows = [step.stage for step in self.steps]
        dst.write_text(f"{src.path.read_text()}\n{chain}\n{rows}")
        return {}


@dataclass(frozen=True, kw_only=True)
class Evaluate(Stage):
    name: ClassVar[str] = "evaluate"
    takes: ClassVar[tuple[Kind, ...]] = ()
    gives: ClassVar[Kind] = "report"
    suffix: ClassVar[str] = ".json"
    data: str = ""
    seed: int = 0

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:  # noqa: ARG002
        report = Evaluation(
            measured=(
                Measured(head="", metric=ACCURACY, value=float(src.path.read_text().split()[-1])),
            ),
            n=400,
            of=400,
            parameters=7,
            macs=1000,
            file_bytes=5,
            predictions_sha256="",
        )
        dst.write_text(json.dumps(encode(report)))
        return {}


@dataclass(frozen=True, kw_only=True)
class NotEmulated(Evaluate):
    """As where the emulator is missing."""

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        if src.kind == "lib":
            raise MissingToolError("no QEMU", "install it")
        return super().run(src, dst, ctx)


def kind_of(path: Path) -> Kind:
    """By the name alone: the files hold a text."""
    kinds: dict[str, Kind] = {".pt": "module", ".onnx": "onnx", ".ekb": "bundle"}
    return "onnx-int8" if "int8" in path.name else kinds[path.suffix]


def target_result(target: TargetProfile, path: Path, sha256: str) -> TargetResult:
    return TargetResult(
        target=target.name,
        base=target.base,
        bundle=str(path),
        bundle_bytes=path.stat().st_size,
        bundle_sha256=sha256,
        layers=0,
        float_ops=(),
        arena_bytes=0,
        weights_bytes=0,
        code_bytes=0,
    )


SMALL = Chain(
    stages={
        name: f"{__name__}:{name.capitalize()}"
        for name in ("distill", "prune", "export", "quantize", "compile", "package")
    },
    evaluate=f"{__name__}:Evaluate",
    agree=f"{__name__}:Evaluate",
    scores=lambda _data, _seed: True,
    enter=lambda path, _recipe: EnteredFile(kind=kind_of(path)),
    data_of=lambda _artifact: "digits",
    done_stages=lambda _artifact: (),
    ladder_of=lambda _artifact: None,
    costs=lambda _artifact, _allow: Costs(parameters=7, macs=9, file_bytes=11),
    target_result=target_result,
)

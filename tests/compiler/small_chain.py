"""A chain of stages that only write texts, to see what a build does with it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from edgekiln.compiler.pipeline.stage import Kind, Stage, StageContext


@dataclass(frozen=True, kw_only=True)
class Note(Stage):
    """Appends its name and options to the text it reads; the accuracy is the last number in it."""

    accuracy: float = 0.9
    seed: int = 0

    def run(self, src: Path, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        device = f" {ctx.target.name}" if ctx.target else ""
        dst.write_text(f"{src.read_text()}\n{self.words()}{device} {self.accuracy}")
        return {}

    def words(self) -> str:
        return self.name


def stage(
    name_: str, takes_: Kind, gives_: Kind, suffix_: str, *, target: bool = False
) -> type[Stage]:
    class Made(Note):
        name = name_
        takes = (takes_,)
        gives = gives_
        suffix = suffix_
        uses_target = target

    return Made


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
class Package(Note):
    name: ClassVar[str] = "package"
    takes: ClassVar[tuple[Kind, ...]] = ("lib",)
    gives: ClassVar[Kind] = "bundle"
    suffix: ClassVar[str] = ".ekb"
    provenance: str = field(default="", metadata={"derived": True})
    report: str = field(default="", metadata={"derived": True})

    def run(self, src: Path, dst: Path, ctx: StageContext) -> Mapping[str, float]:  # noqa: ARG002
        chain = [record["stage"] for record in json.loads(self.provenance)]
        rows = [step["stage"] for step in json.loads(self.report)["steps"]]
        dst.write_text(f"{src.read_text()}\n{chain}\n{rows}")
        return {}


@dataclass(frozen=True, kw_only=True)
class Evaluate(Stage):
    name: ClassVar[str] = "evaluate"
    takes: ClassVar[tuple[Kind, ...]] = ()
    gives: ClassVar[Kind] = "report"
    suffix: ClassVar[str] = ".json"
    data: str = ""
    seed: int = 0

    def run(self, src: Path, dst: Path, ctx: StageContext) -> Mapping[str, float]:  # noqa: ARG002
        accuracy = float(src.read_text().split()[-1])
        report = {"accuracy": accuracy, "metric": "accuracy", "n": 400}
        dst.write_text(json.dumps({**report, "parameters": 7, "macs": 1000, "file_bytes": 5}))
        return {}


CHAIN: dict[str, type[Stage]] = {
    "distill": stage("distill", "module", "module", ".pt"),
    "prune": Prune,
    "export": stage("export", "module", "onnx", ".onnx"),
    "quantize": stage("quantize", "onnx", "onnx-int8", ".onnx"),
    "compile": stage("compile", "onnx-int8", "lib", ".lib", target=True),
    "package": Package,
}

"""Initialize: where a chain begins that is given a name and no file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from edgekiln.compiler.pipeline.stage import Kind, Stage, StageContext


@dataclass(frozen=True, kw_only=True)
class Initialize(Stage):
    """Build a zoo model or `package.module:factory` with seeded initial weights."""

    name: ClassVar[str] = "initialize"
    takes: ClassVar[tuple[Kind, ...]] = ()
    gives: ClassVar[Kind] = "module"
    suffix: ClassVar[str] = ".pt"
    tools: ClassVar[tuple[str, ...]] = ("torch",)

    model: str = field(metadata={"help": "Zoo name or package.module:factory."})
    model_sha256: str = field(default="", metadata={"derived": True})
    data: str = field(default="", metadata={"help": "Data set that decides the model's ends."})
    data_sha256: str = field(default="", metadata={"derived": True})
    seed: int = field(default=0, metadata={"help": "Seed of weights and splits."})

    def run(self, src: Path, dst: Path, ctx: StageContext) -> Mapping[str, float]:  # noqa: ARG002
        from edgekiln.models import artifact, data

        dataset = data.load(self.data, self.seed)
        artifact.create(dst, self.model, dataset, self.data, seed=self.seed)
        return {}

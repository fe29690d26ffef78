"""Initialize: where a chain begins that is given a name and no file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.factory_code import factory_code
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.stages.uses_data import used_data

if TYPE_CHECKING:
    from edgekiln.targets.profile import TargetProfile


@dataclass(frozen=True, kw_only=True)
class InitializeStage(Stage):
    """Build a zoo model or `package.module:factory` with seeded initial weights."""

    name: ClassVar[str] = "initialize"
    takes: ClassVar[tuple[Kind, ...]] = ()
    gives: ClassVar[Kind] = "module"
    suffix: ClassVar[str] = ".pt"
    tools: ClassVar[tuple[str, ...]] = ("torch",)

    model: str = field(metadata={"help": "Build this model, a zoo name or package.module:factory."})
    data: str = field(
        default="", metadata={"help": "Fit the model's input and classes to this data set."}
    )
    seed: int = field(default=0, metadata={"help": "Draw weights and splits by this seed."})

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        return {**used_data(self.data, self.seed), "factory": factory_code(self.model)}

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:  # noqa: ARG002
        from edgekiln.models import artifact, data

        # Without labels nothing says how many classes there are: the module is as its factory makes
        # it.
        if data.is_unlabelled(self.data):
            artifact.create_unlabelled(dst, self.model, self.data, seed=self.seed)
        else:
            dataset = data.load(self.data, self.seed)
            artifact.create(dst, self.model, dataset, self.data, seed=self.seed)
        return {}

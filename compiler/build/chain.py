"""What a build is made of: its stages, and what it asks about the artifacts between them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekiln.compiler.build import resolve, scoring
from edgekiln.compiler.build.recipe import Recipe, stage_class
from edgekiln.compiler.build.result import TargetResult, target_result
from edgekiln.compiler.build.stage_table import STAGES
from edgekiln.compiler.evaluation.report import Costs
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.stage import Stage
from edgekiln.compiler.quantization.ladder_record import Ladder
from edgekiln.targets.profile import TargetProfile


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The defaults are the real ones; a test brings stages small enough to see what happens."""

    stages: Mapping[str, str]  # in their order: name → "module:class"
    evaluate: str  # the stage that scores, the same way; it takes `data` and `seed`
    agree: str  # the one that does so without labels; it takes the path of a `reference`, too
    scores: Callable[[str, int], bool]  # whether the data of a spec and a seed has labels
    enter: Callable[[Path, Recipe], resolve.EnteredFile]  # a user's file
    data_of: Callable[[Artifact], str]
    done_stages: Callable[[Artifact], tuple[str, ...]]
    ladder_of: Callable[[Artifact], Ladder | None]  # what accuracy control did
    costs: Callable[[Artifact, Collection[str]], Costs]
    target_result: Callable[[TargetProfile, Path, str], TargetResult]

    def stage(self, name: str) -> type[Stage]:
        return stage_class(name, {**self.stages, "evaluate": self.evaluate, "agree": self.agree})


CHAIN = Chain(
    stages=STAGES,
    evaluate="edgekiln.compiler.stages.evaluate:EvaluateStage",
    agree="edgekiln.compiler.stages.agree:AgreeStage",
    scores=scoring.has_labels,
    enter=resolve.enter,
    data_of=resolve.data_of,
    done_stages=resolve.done_stages,
    ladder_of=scoring.ladder_of,
    costs=scoring.costs,
    target_result=target_result,
)

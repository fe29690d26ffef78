"""A stage: one artifact file in, one out, and nothing else that could change the bytes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.curve import TrainingCurves

if TYPE_CHECKING:
    from edgekiln.targets.profile import TargetProfile

# Advance(done, total, text): called from long loops; `text` is short: "loss 0.31  acc 0.92".
Advance = Callable[[int, int, str], None]


# OnEpoch(epoch, value): called after each epoch of the training that a stage is for, counted from
# 1, with a number that is higher where the network is better on the validation split. What it
# raises ends the stage.
OnEpoch = Callable[[int, float], None]


def silent(_done: int, _total: int, _text: str) -> None:
    """Progress for callers that show none."""


def unwatched(_epoch: int, _value: float) -> None:
    """Epochs for callers that let every training go on."""


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """What a run may use that cannot change its result."""

    target: "TargetProfile | None" = None  # set only for stages with `uses_target`
    advance: Advance = silent
    on_epoch: OnEpoch = unwatched
    # Where what can be made again may be kept, such as machine code; None: nowhere.
    objects: Path | None = None
    # Survives a killed run of the same key, for checkpoints: same key, same options, same input.
    scratch: Path
    # Where training curves for TensorBoard go, if anywhere.
    logs: Path | None = None
    # Factories besides the zoo's that the user allows files to name: "package.module:factory".
    allow: frozenset[str] = frozenset()
    # For the report ("group layer2.0 kept: cutting differs from zeroing"), stored with the metrics.
    notes: list[str] = field(default_factory=list)
    # Of the trainings that the stage went through, likewise.
    curves: list[TrainingCurves] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Stage(ABC):
    """Fields are the options and part of the cache key, all but those that are `by_content`.

    They are the user's, on the command line and in recipes, but for those marked `option: False`.
    Part of the key, too: the code of the stage and of all that it imports, what it `uses`, and the
    versions of its tools.
    """

    name: ClassVar[str]
    takes: ClassVar[tuple[Kind, ...]]
    gives: ClassVar[Kind]
    uses_target: ClassVar[bool] = False
    tools: ClassVar[tuple[str, ...]] = ()  # distributions whose version can change the bytes
    suffix: ClassVar[str]  # of the artifact file, e.g. ".onnx"
    # Options that are paths of files which `uses` hashes: where these lie is no part of the key.
    by_content: ClassVar[frozenset[str]] = frozenset()

    def settled(self, src: Artifact | None) -> Self:  # noqa: ARG002
        """This stage with the defaults that `src` decides written out: equal work, equal keys."""
        return self

    def kind_of(self, src: Artifact | None) -> Kind:  # noqa: ARG002
        """What it makes of `src`: what it `gives`, unless that depends on what it takes."""
        return self.gives

    def uses(
        self,
        src: Artifact | None,  # noqa: ARG002
        target: "TargetProfile | None",  # noqa: ARG002
    ) -> Mapping[str, str]:
        """What a run depends on besides options, input and target, by name: hashes and versions.

        Raises:
            EdgeKilnError: it cannot be read.
        """
        return {}

    def require_allowed(self, src: Artifact | None, allow: frozenset[str]) -> None:  # noqa: B027
        """Refuse files that ask for a factory which is neither of the zoo nor in `allow`, also
        where the store holds what a run would make of them.

        Raises:
            InputError: one does.
        """

    @abstractmethod
    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        """Read `src`, write `dst`, return metrics for the report. Raises EdgeKilnError."""

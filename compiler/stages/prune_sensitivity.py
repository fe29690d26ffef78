"""Prune sensitivity: what a cut of each channel group, and the loss of each block, costs alone.

No stage of a build: `edgekiln sensitivity` asks for it of a module.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.pruning.importance import Criterion
from edgekiln.compiler.stages.uses_data import used_data
from edgekiln.compiler.stages.uses_module import (
    data_of_module,
    require_allowed_factory,
    used_factory,
)
from edgekiln.models.copies import copied
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from edgekiln.compiler.pruning.groups import ChannelGroup
    from edgekiln.compiler.training.context import TrainingContext
    from edgekiln.targets.profile import TargetProfile

_BATCH = 32
_GRADIENT_BATCHES = 16  # as many as `prune` ranks channels by


@dataclass(frozen=True, kw_only=True)
class SensitivityCut:
    """A network with one cut, as it is without any training after."""

    part: float  # of the group's channels that is gone
    channels: int
    macs_saved: int
    loss: float
    metrics: Mapping[str, float]  # on the validation split, by name


@dataclass(frozen=True, kw_only=True)
class PartSensitivity:
    """A channel group, or a block that may go whole, and what it costs to cut it alone."""

    name: str  # of the group's first layer, or of the block
    is_block: bool
    channels: int  # of the group; 0 of a block
    cuts: tuple[SensitivityCut, ...]  # the smallest first


@dataclass(frozen=True, kw_only=True)
class PruneSensitivity:
    """What pruning would cost, part by part."""

    samples: int  # of the validation split
    macs: int
    loss: float
    metrics: Mapping[str, float]  # of the whole network
    parts: tuple[PartSensitivity, ...]
    kept: tuple[str, ...]  # a line for each group that cannot be cut, and why


@dataclass(frozen=True, kw_only=True)
class PruneSensitivityStage(Stage):
    """Cut one group at a time and look at the validation split. The report is JSON."""

    name: ClassVar[str] = "prune-sensitivity"
    takes: ClassVar[tuple[Kind, ...]] = ("module",)
    gives: ClassVar[Kind] = "report"
    suffix: ClassVar[str] = ".json"
    tools: ClassVar[tuple[str, ...]] = ("torch", "torch-pruning", "numpy")

    part: tuple[float, ...] = field(
        default=(0.25, 0.5, 0.75),
        metadata={"help": "Cut this part of a group's channels; again for more."},
    )
    importance: Criterion = field(
        default="magnitude",
        metadata={"help": "Cut the channels first that matter least by this measure."},
    )
    data: str = field(
        default="",
        metadata={
            "help": "Measure on this data set, a name or a path, and calibrate a .onnx, which "
            "needs no labels (default: the model's own data)."
        },
    )
    seed: int = field(default=0, metadata={"help": "Split the data set by this seed."})

    def __post_init__(self) -> None:
        for part in self.part:
            if not 0 < part < 1:
                raise ConfigError(
                    f"sensitivity: part = {part:g}", "give a part of a group, such as 0.5"
                )

    def settled(self, src: Artifact | None) -> Self:
        return replace(self, data=self.data or data_of_module(src), part=tuple(sorted(self.part)))

    def require_allowed(self, src: Artifact | None, allow: frozenset[str]) -> None:
        require_allowed_factory(src, allow)

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        return {**used_data(self.data, self.seed), **used_factory(src)}

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.pruning.shrink import survey
        from edgekiln.compiler.training.context import open_context
        from edgekiln.models import cost
        from edgekiln.runtime import codec
        from edgekiln.runtime.files import written_whole

        context = open_context(src.path, self.data, self.seed, ctx.allow)
        ctx.advance(0, 1, "proving which channels can go")
        found = survey(context.module, context.samples)
        loss, metrics = self._score(context, context.module)
        report = PruneSensitivity(
            samples=len(context.data.val),
            macs=cost.count(context.module, *context.sample).macs,
            loss=loss,
            metrics=metrics,
            parts=(*self._groups(context, found.proven, ctx), *self._blocks(context)),
            kept=found.kept,
        )
        with written_whole(dst) as stream:
            stream.write(codec.to_json(report).encode())
        return {"groups": len(found.proven), "loss": loss}

    def _groups(
        self, context: "TrainingContext", groups: "tuple[ChannelGroup, ...]", ctx: StageContext
    ) -> Iterator[PartSensitivity]:
        from edgekiln.compiler.pruning.allocate import CutCandidate
        from edgekiln.compiler.pruning.importance import channel_importance, weight_scores
        from edgekiln.compiler.pruning.shrink import cut_all
        from edgekiln.compiler.training.assess import losses_on_batches

        losses = losses_on_batches(
            context, batch_size=_BATCH, seed=self.seed, count=_GRADIENT_BATCHES
        )
        scores = weight_scores(context.module, self.importance, losses)
        ranked = channel_importance(context.module, context.samples, groups, scores)
        for done, group in enumerate(groups):
            if group.root not in ranked:
                continue
            ctx.advance(done, len(groups), f"cutting {group.root}")
            atoms = CutCandidate.of(group, ranked[group.root].tolist()).atoms
            # At least one goes, and one stays; two parts of a narrow group may be the same cut.
            counts = {min(max(round(part * len(atoms)), 1), len(atoms) - 1) for part in self.part}
            cuts = []
            for count in sorted(counts):
                channels = sorted(c for atom in atoms[:count] for c in atom)
                trial = copied(context.module)
                cut_all(trial, context.samples, [(group, channels)])
                cuts.append(self._cut(context, trial, count / len(atoms), len(channels)))
            yield PartSensitivity(
                name=group.root, is_block=False, channels=group.width, cuts=tuple(cuts)
            )

    def _blocks(self, context: "TrainingContext") -> Iterator[PartSensitivity]:
        from edgekiln.compiler.pruning.blocks import removable_blocks
        from edgekiln.models.depth import remove_block

        for name in removable_blocks(context.module, context.samples):
            trial = copied(context.module)
            remove_block(trial, name)
            cut = self._cut(context, trial, 1.0, 0)
            yield PartSensitivity(name=name, is_block=True, channels=0, cuts=(cut,))

    def _cut(
        self, context: "TrainingContext", trial: "nn.Module", part: float, channels: int
    ) -> SensitivityCut:
        from edgekiln.models import cost

        loss, metrics = self._score(context, trial)
        before = cost.count(context.module, *context.sample).macs
        saved = before - cost.count(trial, *context.sample).macs
        return SensitivityCut(
            part=part, channels=channels, macs_saved=saved, loss=loss, metrics=metrics
        )

    def _score(
        self, context: "TrainingContext", module: "nn.Module"
    ) -> tuple[float, Mapping[str, float]]:
        from edgekiln.compiler.training.assess import validation_score

        score = validation_score(module, context, _BATCH)
        return score.loss, {each.label: each.value for each in score.measured}

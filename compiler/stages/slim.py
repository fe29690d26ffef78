"""Slim: a module and its narrower forms, which share its weights, trained together."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.curve import curves_of
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.augmentation_options import Check, check_of_epochs
from edgekiln.compiler.stages.points import FIRST
from edgekiln.compiler.stages.training_options import (
    FINE_RATE,
    FRESH_RATE,
    OTHER_RATES,
    TrainingStage,
)
from edgekiln.runtime.errors import ConfigError, UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgekiln.compiler.pruning.groups import ChannelGroup
    from edgekiln.compiler.stages.slimmable import Distance, NarrowForm, Slimmable
    from edgekiln.compiler.training.context import TrainingContext
    from edgekiln.compiler.training.loss import Objective

_TRAINS = ("distill", "prune", "slim")  # stages that leave trained weights
MAX_FORMS = 64  # each is trained, exported and compiled
_SETTLING_SAMPLES = 2048  # for batch norm's statistics: their means are known well by then


@dataclass(frozen=True, kw_only=True)
class SlimStage(TrainingStage):
    """Train the module and its narrower forms together: the widest learns from the labels, and the
    others from it. Gives a tar of module files, the widest first.
    """

    name: ClassVar[str] = "slim"
    gives: ClassVar[Kind] = "report"
    suffix: ClassVar[str] = ".tar"
    tools: ClassVar[tuple[str, ...]] = ("torch", "torch-pruning", "numpy")

    by: Literal["width", "depth", "both"] = field(
        default="width",
        metadata={
            "help": "Let forms have fewer channels (width), fewer residual blocks (depth), or both."
        },
    )
    points: int = field(default=4, metadata={"help": "Train so many forms, the module included."})
    least: float = field(
        default=0.25,
        metadata={"help": "Leave this share of the channels, or blocks, to the smallest form."},
    )
    epochs: int = field(
        default=16, metadata={"help": "Pass this many times over the training samples."}
    )
    learning_rate: float | None = field(
        default=None,
        metadata={
            "help": f"Let the learning rate rise to this (default: {FRESH_RATE:g}; "
            f"{FINE_RATE:g} where the weights are trained; {OTHER_RATES})."
        },
    )
    channel_multiple: int = field(
        default=8,
        metadata={"help": "Leave a multiple of so many channels, as programs share weights by it."},
    )

    def checks(self) -> tuple[Check, ...]:
        return (
            *super().checks(),
            check_of_epochs("epochs", self.epochs, 1, "train for at least one epoch"),
            (
                "points",
                2 <= self.points <= MAX_FORMS,
                f"give 2 to {MAX_FORMS}, the module among them",
            ),
            ("least", 0 < self.least < 1, "give a share between 0 and 1"),
            (
                "points",
                not 2 <= self.points <= MAX_FORMS or len({*self.names}) == self.points,
                "points are called by whole percents: give fewer, or a lower least",
            ),
            ("channel_multiple", self.channel_multiple >= 1, "give 1 or more"),
        )

    @property
    def shares(self) -> tuple[float, ...]:
        """What each form has of the channels or blocks: evenly from all of them to the least."""
        step = (1 - self.least) / (self.points - 1)
        return tuple(1 - step * number for number in range(self.points))

    @property
    def names(self) -> tuple[str, ...]:
        """ "full", and of the others what is left: of the channels "w50", of the blocks "d50", of
        both "s50".
        """
        what = {"width": "w", "depth": "d", "both": "s"}[self.by]
        return (FIRST, *(f"{what}{share * 100:.0f}" for share in self.shares[1:]))

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.training.assess import validation_score
        from edgekiln.compiler.training.context import open_context
        from edgekiln.compiler.training.first_weights import initialize_by_samples
        from edgekiln.compiler.training.fit import fit
        from edgekiln.models.artifact import save_module
        from edgekiln.runtime.bundle import write_tar

        context = open_context(src.path, self.data, self.seed, ctx.allow)
        trained = any(stage in context.meta.history for stage in _TRAINS)
        if not trained:
            initialize_by_samples(context.module, context.data)
        ctx.advance(0, 1, "proving which channels can go")
        objective = self._objective(context.data.task)
        network = self._slimmable(context, objective)
        result = fit(
            network,
            context.data,
            replace(objective, penalty=network.penalty),
            self.fit_options(
                epochs=self.epochs,
                default_rate=FINE_RATE if trained else FRESH_RATE,
                seed=self.seed,
            ),
            checkpoint_path=ctx.scratch / "slim.ckpt",
            advance=ctx.advance,
            on_epoch=ctx.on_epoch,
            logs=ctx.logs / "slim" if ctx.logs else None,
        )
        ctx.curves.append(curves_of("slim", result.history, {}))
        metrics: dict[str, float] = {"epochs": result.epochs, "best_epoch": result.best_epoch}
        with tempfile.TemporaryDirectory(prefix="edgekiln-slim-") as home:
            files: dict[str, Path] = {}
            for number, module in enumerate(self._forms(network, context)):
                score = validation_score(module, context, self.batch_size)
                own = score.metrics("val", f"_{number}")
                metrics |= own
                history = {**context.meta.history, "slim": {**metrics, "point": number}}
                path = Path(home, f"{number}.pt")
                save_module(path, module, replace(context.meta, history=history))
                files[path.name] = path
            write_tar(dst, files, executable=set())
        return metrics

    def _objective(self, task: str) -> "Objective":
        from edgekiln.compiler.training.loss import Objective
        from edgekiln.compiler.training.step import training_step

        return Objective(
            task=task,
            label_smoothing=self.label_smoothing,
            step=training_step(self.training_step),
        )

    def _slimmable(self, context: "TrainingContext", objective: "Objective") -> "Slimmable":
        """Raises UnsupportedError, ConfigError: there are not so many forms."""
        from edgekiln.compiler.stages.slimmable import Slimmable

        blocks = () if self.by == "width" else self._blocks(context)
        groups = self._groups(context, context.module) if self.by == "width" else None
        forms = [self._form(context, share, blocks, groups) for share in self.shares[1:]]
        sizes = [_elements(each) for each in (context.module, *(f.network for f in forms))]
        if len(set(sizes)) < len(sizes):
            raise ConfigError(
                f"slim: points = {self.points}: some forms are alike",
                f"give fewer, a smaller --least, or --channel-multiple below "
                f"{self.channel_multiple}",
            )
        return Slimmable(context.module, forms, _distance(objective))

    def _form(
        self, context: "TrainingContext", share: float, blocks: Sequence[str],
        groups: "Sequence[ChannelGroup] | None",
    ) -> "NarrowForm":  # fmt: skip
        """The form that has this share.

        Args:
            blocks: that may be left out.
            groups: of channels; None: those of what is left of the network.
        """
        from edgekiln.compiler.stages.slimmable import left_out, narrow_form
        from edgekiln.models.copies import copied
        from edgekiln.models.depth import remove_blocks

        without = left_out(context.module, blocks, share)
        if groups is None and self.by == "both":
            shallow = copied(context.module)
            remove_blocks(shallow, without)
            groups = self._groups(context, shallow)
        return narrow_form(
            context.module, context.samples, groups or (), share, self.channel_multiple, without
        )

    def _blocks(self, context: "TrainingContext") -> tuple[str, ...]:
        """The blocks that forms may be without."""
        from edgekiln.compiler.pruning.blocks import removable_blocks

        found = removable_blocks(context.module, context.samples)
        if found:
            return found
        raise UnsupportedError(
            f"{context.meta.factory}: no residual block can be left out, so there is no shallower "
            "form",
            "train narrower ones: --by width",
        )

    def _groups(self, context: "TrainingContext", network: "nn.Module") -> "list[ChannelGroup]":
        """The groups of channels of which forms may have fewer."""
        from edgekiln.compiler.pruning.shrink import survey

        found = survey(network, context.samples)
        if found.proven:
            return list(found.proven)
        raise UnsupportedError(
            f"{context.meta.factory}: no group of channels can be cut, so there is no narrower "
            f"form: {'; '.join(found.kept)}",
            "points of your own: edgekiln compile --point NAME=FILE.onnx",
        )

    def _forms(self, network: "Slimmable", context: "TrainingContext") -> "list[nn.Module]":
        """Every form as a network of its own."""
        from edgekiln.compiler.stages.slimmable import settle_statistics
        from edgekiln.models.interface import samples_of

        device = next(network.parameters()).device
        samples = [each.to(device) for each in samples_of(context.data, _SETTLING_SAMPLES)]
        size = self.batch_size
        batches = [
            tuple(each[start : start + size] for each in samples)
            for start in range(0, len(samples[0]) - 1, size)
        ]
        made = [network.widest]
        for form in network.forms():
            alone = form.alone(network.widest)
            settle_statistics(alone, (batch for batch in batches if len(batch[0]) > 1))
            made.append(alone)
        return made


def _elements(module: "nn.Module") -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _distance(objective: "Objective") -> "Distance":
    """What a head's task says it is to answer otherwise than a teacher."""
    from edgekiln.models.tasks.tally import outputs_by_head

    def distance(outputs: "dict[str, Tensor]", taught: "dict[str, Tensor]") -> "Tensor":
        told, wise = (outputs_by_head(objective.heads, each) for each in (outputs, taught))
        losses = [
            head.weight
            * objective.imitation.loss(
                head.task, [each.float() for each in own], [[e.float() for e in their]], 1.0
            )
            for head, own, their in zip(objective.heads, told, wise, strict=True)
        ]
        return sum(losses[1:], start=losses[0])

    return distance

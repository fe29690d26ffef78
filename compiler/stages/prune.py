"""Prune: a really smaller network, by cutting whole channels and recovering from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Advance, Stage, StageContext
from edgekiln.compiler.stages.uses_data import used_data
from edgekiln.compiler.stages.uses_module import data_of_module, used_factory, used_functions
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from edgekiln.compiler.training.context import TrainingContext
    from edgekiln.compiler.training.fit import FitOptions
    from edgekiln.compiler.training.score import SplitScore
    from edgekiln.targets.profile import TargetProfile

# Enough for a ranking: the scores are means, and a batch costs as much as training on it.
_GRADIENT_BATCHES = 16
# A network that a cut has ruined has far to go; one that still works is lost at such a rate.
_RATE, _FINE_RATE = 3e-3, 2e-4
# What a cut costs, in accuracy or as the growth of the loss: at most where that is little, and at
# least where it is worth a word.
_LITTLE, _NOTABLE = 0.05, 0.01


@dataclass(frozen=True, kw_only=True)
class PruneStage(Stage):
    """Cut channels until some of the MACs are left; the unpruned network teaches the pruned."""

    name: ClassVar[str] = "prune"
    takes: ClassVar[tuple[Kind, ...]] = ("module",)
    gives: ClassVar[Kind] = "module"
    suffix: ClassVar[str] = ".pt"
    tools: ClassVar[tuple[str, ...]] = ("torch", "torch-pruning", "numpy")

    ratio: float = field(
        default=0.5, metadata={"help": "Keep this part of the multiply-accumulates; 1 keeps all."}
    )
    importance: Literal["magnitude", "taylor", "fisher", "gradient-share"] = field(
        default="magnitude",
        metadata={"help": "Choose the channels to cut by this measure of their importance."},
    )
    steps: int = field(default=1, metadata={"help": "Cut and recover in this many rounds."})
    recovery_epochs: int = field(
        default=8, metadata={"help": "Train for this many epochs after each cut."}
    )
    batch_size: int = field(
        default=32, metadata={"help": "Take this many samples a step, on each process."}
    )
    learning_rate: float | None = field(
        default=None,
        metadata={
            "help": f"Let the learning rate rise to this (default: {_RATE:g}; "
            f"{_FINE_RATE:g} where a cut cost little)."
        },
    )
    weight_decay: float = field(
        default=1e-2,
        metadata={
            "help": "Let weights decay by this part times the learning rate a step; biases and "
            "norms do not."
        },
    )
    ema: float = field(
        default=0.98,
        metadata={
            "help": "Average the weights over steps with this decay, below 1; 0 takes the last "
            "ones."
        },
    )
    shift: int = field(
        default=2, metadata={"help": "Shift training images by up to this many pixels."}
    )
    flip: bool = field(default=False, metadata={"help": "Mirror training images left to right."})
    augment: str = field(
        default="",
        metadata={
            "help": "Change each training batch by this function, package.module:function, of a "
            "batch and a random generator (default: none)."
        },
    )
    training_step: str = field(
        default="",
        metadata={
            "help": "Take the loss from this function, package.module:function, of the model and a "
            "batch (default: the task's, and the unpruned network's)."
        },
    )
    alpha: float = field(
        default=0.7,
        metadata={
            "help": "Weigh the loss against the unpruned network by this, "
            "from 0 to 1; the labels' gets the rest."
        },
    )
    temperature: float = field(
        default=4.0,
        metadata={
            "help": "Divide both networks' logits by this, which softens their probabilities."
        },
    )
    keep: tuple[str, ...] = field(
        default=(),
        metadata={"help": "Keep all outputs of this layer, by name or pattern; again for more."},
    )
    channel_multiple: int = field(
        default=8,
        metadata={
            "help": "Leave widths that are multiples of this many channels; a "
            "build takes the targets' multiple."
        },
    )
    data: str = field(
        default="",
        metadata={"help": "Train on this data set, a name or a path (default: the model's own)."},
    )
    seed: int = field(default=0, metadata={"help": "Draw the splits and the order by this seed."})

    def __post_init__(self) -> None:
        for name, valid, hint in (
            ("ratio", 0 < self.ratio <= 1, "give the part of the MACs to keep, such as 0.5"),
            ("steps", self.steps >= 1, "cut at least once, or skip the stage: --skip prune"),
            ("recovery_epochs", self.recovery_epochs >= 0, "give 0 (no training) or more"),
            ("batch_size", self.batch_size >= 2, "batch norm needs two samples or more"),
            (
                "learning_rate",
                self.learning_rate is None or self.learning_rate > 0,
                "give a positive number",
            ),
            ("weight_decay", self.weight_decay >= 0, "give 0 or more"),
            ("ema", 0 <= self.ema < 1, "give 0 (none) or a number below 1, such as 0.99"),
            ("shift", self.shift >= 0, "give 0 or more pixels"),
            ("alpha", 0 <= self.alpha <= 1, "give a number from 0 to 1"),
            ("temperature", self.temperature > 0, "give a positive number, such as 4"),
            ("channel_multiple", self.channel_multiple >= 1, "give 1 or more"),
        ):
            if not valid:
                value = getattr(self, name)
                raise ConfigError(f"prune: {name.replace('_', '-')} = {value}", hint=hint)

    def settled(self, src: Artifact | None) -> Self:
        return replace(self, data=self.data or data_of_module(src))

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        return {
            **used_data(self.data, self.seed),
            **used_factory(src),
            **used_functions(augment=self.augment, training_step=self.training_step),
        }

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.training.assess import validation_score
        from edgekiln.compiler.training.context import open_context
        from edgekiln.compiler.training.teacher import frozen_copy
        from edgekiln.models import cost
        from edgekiln.models.artifact import save_module

        context = open_context(src.path, self.data, self.seed, ctx.allow)
        before = cost.count(context.module, *context.sample)
        module, teacher = context.module, frozen_copy(context.module)  # cuts are made in place
        score_before = validation_score(teacher, context, self.batch_size)
        for step in range(self.steps if self.ratio < 1 else 0):
            # Equal parts of what is to go: the same number of MACs in every round.
            kept = 1 - (1 - self.ratio) * (step + 1) / self.steps
            module = self._round(
                step,
                replace(context, module=module),
                teacher,
                ctx,
                budget=int(before.macs * kept),
                aim=score_before,
            )
        after = cost.count(module, *context.sample)
        score_after = validation_score(module, context, self.batch_size)
        if score_after.is_worse_than(score_before, _NOTABLE):
            ctx.notes.append(
                f"pruning made it worse: val {score_before} before, {score_after} after; "
                "raise --ratio or --recovery-epochs"
            )
        if after.macs > self.ratio * before.macs:
            ctx.notes.append(
                f"{after.macs / before.macs:.3f} of the MACs are left, {self.ratio:g} were asked "
                f"for: no more blocks of {self.channel_multiple} channels may be cut"
            )
        metrics = {
            "macs_before": before.macs,
            "macs_after": after.macs,
            "macs_ratio": after.macs / before.macs,
            "parameters_before": before.parameters,
            "parameters_after": after.parameters,
            **score_before.metrics("val", "_before"),
            **score_after.metrics("val"),
        }
        history = {**context.meta.history, "prune": metrics}
        save_module(dst, module, replace(context.meta, history=history))
        return metrics

    def _round(
        self,
        step: int,
        context: "TrainingContext",
        teacher: "nn.Module",
        ctx: StageContext,
        *,
        budget: int,
        aim: "SplitScore",
    ) -> "nn.Module":
        """Cut to `budget` MACs and recover towards `aim`, the score of the unpruned network.

        A finished round is read from the scratch directory.
        """
        from edgekiln.compiler.pruning.importance import weight_scores
        from edgekiln.compiler.pruning.shrink import shrink, survey
        from edgekiln.compiler.training.assess import losses_on_batches, validation_score
        from edgekiln.compiler.training.distributed import join
        from edgekiln.compiler.training.fit import fit
        from edgekiln.compiler.training.loss import Objective
        from edgekiln.compiler.training.step import training_step
        from edgekiln.models.artifact import load_module, save_module

        label = f"cut {step + 1}/{self.steps}"
        ctx.advance(0, 1, f"{label}: proving which channels can go")
        module, samples = context.module, context.samples
        # Again in each round: what a cut left may let other channels go.
        found = survey(module, samples, self.keep)
        ctx.notes.extend(note for note in found.kept if note not in ctx.notes)
        if not found.proven:
            ctx.notes.append("nothing was cut: no group of channels may be")
            return module
        # A killed stage goes on behind its last whole round.
        done = ctx.scratch / f"round-{step}.pt"
        if done.exists():
            return load_module(done, {context.meta.factory})[0]
        losses = losses_on_batches(
            context, batch_size=self.batch_size, seed=self.seed, count=_GRADIENT_BATCHES
        )
        scores = weight_scores(module, self.importance, losses)
        ctx.notes.extend(
            shrink(
                module,
                samples,
                found.proven,
                scores,
                budget=budget,
                multiple=self.channel_multiple,
            )
        )
        if self.recovery_epochs:
            # A cut that cost little is healed at the rate for trained weights, which loses none
            # of them.
            little = not validation_score(module, context, self.batch_size).is_worse_than(
                aim, _LITTLE
            )
            before = step * self.recovery_epochs  # epochs of the rounds that are over
            fit(
                module,
                context.data,
                Objective(
                    task=context.data.task,
                    alpha=self.alpha,
                    temperature=self.temperature,
                    step=training_step(self.training_step),
                ),
                self._options(step, _FINE_RATE if little else _RATE),
                checkpoint_path=ctx.scratch / f"round-{step}.ckpt",
                teacher=None if self.training_step else teacher,
                advance=_labelled(label, ctx.advance),
                on_epoch=lambda epoch, value: ctx.on_epoch(before + epoch, value),
                logs=ctx.logs / f"round-{step}" if ctx.logs else None,
            )
        # Of several processes one writes for all.
        if join().rank == 0:
            ctx.scratch.mkdir(parents=True, exist_ok=True)
            save_module(done, module, context.meta)
        return module

    def _options(self, step: int, default_rate: float) -> "FitOptions":
        from edgekiln.compiler.training.batches import Augment
        from edgekiln.compiler.training.fit import FitOptions
        from edgekiln.compiler.training.step import own_change

        return FitOptions(
            epochs=self.recovery_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate or default_rate,
            weight_decay=self.weight_decay,
            ema=self.ema,
            augment=Augment(shift=self.shift, flip=self.flip, own=own_change(self.augment)),
            seed=self.seed + step,  # another order in every round
        )


def _labelled(label: str, advance: Advance) -> Advance:
    return lambda done, total, text: advance(done, total, f"{label}: {text}")

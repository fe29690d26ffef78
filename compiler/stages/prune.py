"""Prune: a really smaller network, by cutting whole channels and recovering from it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.pruning.budget import Budget, parse_budgets
from edgekiln.compiler.pruning.importance import Criterion
from edgekiln.compiler.pruning.schedule import Schedule
from edgekiln.compiler.stages.augmentation_options import Check
from edgekiln.compiler.stages.pruning_goals import (
    ON_TARGETS,
    PruningGoals,
    asks_targets,
    target_costs,
)
from edgekiln.compiler.stages.pruning_rounds import RATE, PruningRounds
from edgekiln.compiler.stages.teaching_options import SELF, TeachingStage
from edgekiln.compiler.stages.training_options import FINE_RATE, OTHER_RATES

if TYPE_CHECKING:
    from edgekiln.targets.profile import TargetProfile

_RATIO = 0.5
_NOTABLE = 0.01  # what a cut costs, in accuracy or as the growth of the loss, that is worth a word


@dataclass(frozen=True, kw_only=True)
class PruneStage(TeachingStage):
    """Cut channels until the budgets are met; the unpruned network teaches the pruned."""

    name: ClassVar[str] = "prune"
    tools: ClassVar[tuple[str, ...]] = ("torch", "torch-pruning", "numpy")

    ratio: float | None = field(
        default=None,
        metadata={
            "help": "Keep this part of the multiply-accumulates, as --budget macs=RATIO does; 1 "
            f"keeps all (default: {_RATIO:g} where there is no budget)."
        },
    )
    budget: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Keep no more than this of a cost, KIND=AMOUNT: macs, parameters, bytes, arena "
            "or latency, as a share (latency=0.5) or an amount (latency=2ms, bytes=64KiB); again "
            "for more, all of which are met."
        },
    )
    budget_target: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Hold budgets of bytes, arena and latency against the int8 program of this "
            "target; again for more, of which each must meet them (default: a build's; alone, the "
            "host)."
        },
    )
    budget_device: str = field(
        default="",
        metadata={
            "help": "Measure latencies on this device, a name or an address (default: here; "
            "estimated for targets that cannot run here)."
        },
    )
    importance: Criterion = field(
        default="magnitude",
        metadata={"help": "Choose the channels to cut by this measure of their importance."},
    )
    sparsity_epochs: int = field(
        default=0,
        metadata={
            "help": "Before the first cut, train for this many epochs with a penalty that draws "
            "whole channels towards zero: the batch norms' scales, with importance = "
            "batch-norm-scale, else all weights of a channel."
        },
    )
    sparsity: float = field(
        default=1e-4, metadata={"help": "Weigh that penalty by this against the loss."}
    )
    heads: Literal["narrow", "whole"] = field(
        default="narrow",
        metadata={
            "help": "Of attention, make all heads narrower, or cut whole heads where that is "
            "proven."
        },
    )
    blocks: int = field(
        default=0,
        metadata={
            "help": "First remove up to this many residual blocks whole, those that the loss "
            "misses least; in several rounds an equal part in each."
        },
    )
    steps: int = field(default=1, metadata={"help": "Cut and recover in this many rounds."})
    cut_schedule: Schedule = field(
        default="linear",
        metadata={
            "help": "Take the same amount in each round, most of it in the first ones (cubic), or "
            "the same part of what is there (geometric)."
        },
    )
    recovery_epochs: int = field(
        default=8, metadata={"help": "Train for this many epochs after each cut."}
    )
    recovery_share: float = field(
        default=1.0,
        metadata={
            "help": "Of these train for this part only, rounded up, after each cut but the last."
        },
    )
    teacher: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Recover by the answers of this teacher: a zoo name, "
            "package.module:factory, .pt file, self (the unpruned network) or ema (the average of "
            "its weights); again for more (default: self)."
        },
    )
    learning_rate: float | None = field(
        default=None,
        metadata={
            "help": f"Let the learning rate rise to this (default: {RATE:g}; "
            f"{FINE_RATE:g} where a cut cost little; {OTHER_RATES})."
        },
    )
    training_step: str = field(
        default="",
        metadata={
            "help": "Take the loss from this function, package.module:function, of the model and a "
            "batch (default: the task's, and the unpruned network's)."
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
    seed: int = field(default=0, metadata={"help": "Draw the splits and the order by this seed."})

    def checks(self) -> tuple[Check, ...]:
        parse_budgets(self.budget)
        return (
            *super().checks(),
            (
                "ratio",
                self.ratio is None or 0 < self.ratio <= 1,
                "give the part of the MACs to keep, such as 0.5",
            ),
            ("sparsity_epochs", self.sparsity_epochs >= 0, "give 0 (none) or more"),
            ("sparsity", self.sparsity > 0, "give a positive number, such as 1e-4"),
            ("blocks", self.blocks >= 0, "give 0 (none) or more"),
            ("steps", self.steps >= 1, "cut at least once, or skip the stage: --skip prune"),
            ("recovery_epochs", self.recovery_epochs >= 0, "give 0 (no training) or more"),
            ("recovery_share", 0 <= self.recovery_share <= 1, "give a part, from 0 to 1"),
            ("channel_multiple", self.channel_multiple >= 1, "give 1 or more"),
        )

    @property
    def has_teacher(self) -> bool:
        return not self.training_step

    def budgets(self) -> tuple[Budget, ...]:
        """All that may be left, the ratio's and the others'. Raises ConfigError."""
        ratio = _RATIO if self.ratio is None and not self.budget else self.ratio
        of_ratio = () if ratio is None else (f"macs={ratio}",)
        return parse_budgets((*of_ratio, *self.budget))

    def settled(self, src: Artifact | None) -> Self:
        settled = super().settled(src)
        # What no budget asks for is no part of the key: builds for other targets share the work.
        kinds = {budget.kind for budget in self.budgets()}
        asked = not kinds.isdisjoint(ON_TARGETS)
        return replace(
            settled,
            budget_target=self.budget_target if asked else (),
            budget_device=self.budget_device if "latency" in kinds else "",
        )

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:
        own = super().uses(src, target)
        if not asks_targets(self.budgets(), self.budget_target):
            return own
        return {**own, **target_costs().used(self.budget_target)}

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.stages.faculty import hired
        from edgekiln.compiler.training.assess import validation_score
        from edgekiln.compiler.training.context import open_context
        from edgekiln.models import cost
        from edgekiln.models.artifact import save_module

        context = open_context(src.path, self.data, self.seed, ctx.allow)
        before = cost.count(context.module, *context.sample)
        score_before = validation_score(context.module, context, self.batch_size)
        asks = asks_targets(self.budgets(), self.budget_target)
        goals = PruningGoals(
            context=replace(context, module=copy.deepcopy(context.module)),
            ctx=ctx,
            budgets=self.budgets(),
            targets=target_costs().profiles(self.budget_target) if asks else (),
            device=self.budget_device,
            multiple=self.channel_multiple,
            data=self.data,
            seed=self.seed,
        )
        if not goals.all_may_stay:
            faculty = hired(
                self, context, ctx, former=context.module, default=(SELF,) * self.has_teacher
            )
            rounds = PruningRounds(
                stage=self, context=context, goals=goals, faculty=faculty, ctx=ctx
            )
            context = replace(context, module=rounds.run(aim=score_before))
        module = context.module
        after = cost.count(module, *context.sample)
        score_after = validation_score(module, context, self.batch_size)
        if score_after.is_worse_than(score_before, _NOTABLE):
            ctx.notes.append(
                f"pruning made it worse: val {score_before} before, {score_after} after; "
                "raise --ratio or --recovery-epochs"
            )
        ctx.notes.extend(goals.missed(module))
        metrics = {
            "macs_before": before.macs,
            "macs_after": after.macs,
            "macs_ratio": after.macs / before.macs,
            "parameters_before": before.parameters,
            "parameters_after": after.parameters,
            **goals.metrics(module),
            **score_before.metrics("val", "_before"),
            **score_after.metrics("val"),
        }
        for note, figures in goals.compared(context):
            ctx.notes.append(note)
            metrics = {**figures, **metrics}  # of several targets the first
        history = {**context.meta.history, "prune": metrics}
        save_module(dst, module, replace(context.meta, history=history))
        return metrics

"""What a user lets a pruning keep, cut and train: its options, and what must hold of them."""

from dataclasses import dataclass, field, replace
from typing import Literal, Self

from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pruning.budget import ON_TARGETS, Budget, parse_budgets
from edgekiln.compiler.pruning.importance import Criterion
from edgekiln.compiler.pruning.schedule import Schedule
from edgekiln.compiler.stages.augmentation_options import Check, check_of_epochs
from edgekiln.compiler.stages.teaching_options import TeachingStage
from edgekiln.compiler.stages.training_options import FINE_RATE, OTHER_RATES
from edgekiln.targets.description import TargetProfile

_RATIO = 0.5
RATE = 3e-3  # a network that a cut has ruined has far to go


@dataclass(frozen=True, kw_only=True)
class PruningStage(TeachingStage):
    """A stage that prunes a module; its fields are the options of pruning and of recovery."""

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
    build_targets: tuple[TargetProfile, ...] = field(default=(), metadata={"option": False})
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
            "help": "Make all heads of attention narrower, or cut whole heads where that is proven."
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
            "help": "Train for this part of them only, rounded up, after each cut but the last."
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
            check_of_epochs("sparsity_epochs", self.sparsity_epochs, 0, "give 0 (none) or more"),
            ("sparsity", self.sparsity > 0, "give a positive number, such as 1e-4"),
            ("blocks", self.blocks >= 0, "give 0 (none) or more"),
            ("steps", self.steps >= 1, "cut at least once, or skip the stage: --skip prune"),
            check_of_epochs(
                "recovery_epochs", self.recovery_epochs, 0, "give 0 (no training) or more"
            ),
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

    @property
    def asks_targets(self) -> bool:
        """Whether a program has to be built: a latency and an absolute size are some target's, and
        of a relative size one that is named says how well it was predicted.
        """
        named = bool(self.budget_target or self.build_targets)
        return any(
            budget.kind == "latency"
            or (budget.kind in ON_TARGETS and (budget.share is None or named))
            for budget in self.budgets()
        )

    def settled(self, src: Artifact | None) -> Self:
        settled = super().settled(src)
        # What no budget asks for is no part of the key: builds for other targets share the work.
        kinds = {budget.kind for budget in self.budgets()}
        asked = not kinds.isdisjoint(ON_TARGETS)
        return replace(
            settled,
            budget_target=self.budget_target if asked else (),
            build_targets=self.build_targets if asked and not self.budget_target else (),
            budget_device=self.budget_device if "latency" in kinds else "",
        )

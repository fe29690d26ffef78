"""Prune: a really smaller network, by cutting whole channels and recovering from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.pruning_goals import PruningGoals, target_costs
from edgekiln.compiler.stages.pruning_options import PruningStage
from edgekiln.compiler.stages.pruning_rounds import PruningRounds
from edgekiln.compiler.stages.teaching_options import SELF
from edgekiln.models.copies import copied

if TYPE_CHECKING:
    from edgekiln.targets.profile import TargetProfile

_NOTABLE = 0.01  # what a cut costs, in accuracy or as the growth of the loss, that is worth a word


@dataclass(frozen=True, kw_only=True)
class PruneStage(PruningStage):
    """Cut channels until the budgets are met; the unpruned network teaches the pruned."""

    name: ClassVar[str] = "prune"
    tools: ClassVar[tuple[str, ...]] = ("torch", "torch-pruning", "numpy", "onnxruntime")

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:
        own = super().uses(src, target)
        if not self.asks_targets:
            return own
        return {**own, **target_costs().used(self._targets())}

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.stages.faculty import hired
        from edgekiln.compiler.training.assess import validation_score
        from edgekiln.compiler.training.context import open_context
        from edgekiln.models import cost
        from edgekiln.models.artifact import save_module

        context = open_context(src.path, self.data, self.seed, ctx.allow)
        before = cost.count(context.module, *context.sample)
        score_before = validation_score(context.module, context, self.batch_size)
        goals = PruningGoals(
            context=replace(context, module=copied(context.module)),
            ctx=ctx,
            budgets=self.budgets(),
            targets=self._targets() if self.asks_targets else (),
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

    def _targets(self) -> "Sequence[TargetProfile]":
        """Those that the user named, or the build's, or the host. Raises ConfigError."""
        if self.build_targets and not self.budget_target:
            return self.build_targets
        found: Sequence[TargetProfile] = target_costs().profiles(self.budget_target)
        return found

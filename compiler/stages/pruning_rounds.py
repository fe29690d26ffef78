"""The rounds of a pruning: a network is made ready, cut and recovers, as often as was asked for."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from edgekiln.compiler.pipeline.curve import TrainingCurves, curves_of
from edgekiln.compiler.pipeline.stage import Advance, StageContext
from edgekiln.compiler.stages.pruning_options import RATE
from edgekiln.compiler.stages.training_options import FINE_RATE
from edgekiln.runtime.codec import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor, nn

    from edgekiln.compiler.pruning.costs import Goal
    from edgekiln.compiler.pruning.groups import ChannelGroup
    from edgekiln.compiler.pruning.shrink import Survey
    from edgekiln.compiler.stages.faculty import Faculty
    from edgekiln.compiler.stages.pruning_goals import PruningGoals
    from edgekiln.compiler.stages.pruning_options import PruningStage
    from edgekiln.compiler.training.context import TrainingContext
    from edgekiln.compiler.training.loss import Objective
    from edgekiln.compiler.training.result import FitResult
    from edgekiln.compiler.training.score import SplitScore

# Enough for a ranking: the scores are means, and a batch costs as much as training on it.
_GRADIENT_BATCHES = 16
# What a cut costs, in accuracy or as the growth of the loss, where that is little.
_LITTLE = 0.05


@dataclass(kw_only=True)
class PruningRounds:
    """All rounds of one pruning. What a finished one gave is read from the scratch directory."""

    stage: "PruningStage"
    context: "TrainingContext"  # its module is changed in place
    goals: "PruningGoals"
    faculty: "Faculty"
    ctx: StageContext

    def run(self, *, aim: "SplitScore") -> "nn.Module":
        """The pruned network; `aim` is the score of the unpruned one."""
        from edgekiln.models.depth import removed_blocks

        context = self.context
        gone = removed_blocks(context.module)
        if self.stage.sparsity_epochs:
            context = self._once("sparse", context, self._sparse)
        for step in range(self.stage.steps):
            at = partial(self._round, context=context, step=step, aim=aim)
            context = self._once(f"round-{step}", context, at)
        if removed := [name for name in removed_blocks(context.module) if name not in gone]:
            self.ctx.notes.append(f"blocks removed: {', '.join(removed)}")
        return context.module

    def _once(
        self, name: str, context: "TrainingContext", work: "Callable[[str], list[str]]"
    ) -> "TrainingContext":
        """Let `work` change the module, unless it did so before the stage was killed.

        Args:
            work: takes the name, for files of its own, and returns notes.
        """
        from edgekiln.compiler.training.distributed import join
        from edgekiln.models.artifact import load_module, save_module

        done = self.ctx.scratch / f"{name}.pt"
        if done.exists():
            module, meta = load_module(done, {context.meta.factory})
            notes = list(meta.history["notes"])
            self.ctx.curves.extend(
                decode(TrainingCurves, curves) for curves in meta.history["curves"]
            )
            context = replace(context, module=module)
        else:
            known = len(self.ctx.curves)
            notes = work(name)
            history = {"notes": notes, "curves": encode(self.ctx.curves[known:])}
            # Of several processes one writes for all.
            if join().rank == 0:
                self.ctx.scratch.mkdir(parents=True, exist_ok=True)
                save_module(done, context.module, replace(context.meta, history=history))
        self.ctx.notes.extend(note for note in notes if note not in self.ctx.notes)
        return context

    def _sparse(self, name: str) -> list[str]:
        """Train with the penalty that makes channels ready to go."""
        from edgekiln.compiler.training.fit import fit

        stage, context = self.stage, self.context
        self.ctx.advance(0, 1, "sparsity: proving which channels can go")
        found = self._survey(context)
        options = stage.fit_options(
            epochs=stage.sparsity_epochs, default_rate=FINE_RATE, seed=stage.seed
        )
        result = fit(
            context.module,
            context.data,
            self._penalized(found.proven),
            # The validation split's score knows nothing of the penalty.
            replace(options, keep_best=False),
            checkpoint_path=self.ctx.scratch / f"{name}.ckpt",
            teaching=self.faculty.teaching,
            advance=_labelled("sparsity", self.ctx.advance),
            logs=self.ctx.logs / name if self.ctx.logs else None,
        )
        self._draw("sparsity", result)
        return list(found.kept)

    def _penalized(self, groups: "Sequence[ChannelGroup]") -> "Objective":
        """The recovery's objective, and the penalty."""
        from edgekiln.compiler.pruning.sparsity import group_penalty, scale_penalty

        stage, module = self.stage, self.context.module
        penalty = scale_penalty if stage.importance == "batch-norm-scale" else group_penalty
        return replace(
            stage.objective(self.context.data.task),
            penalty=lambda: stage.sparsity * penalty(module, groups),
        )

    def _round(
        self,
        name: str,
        *,
        context: "TrainingContext",
        step: int,
        aim: "SplitScore",
    ) -> list[str]:
        """Cut to what may be left after this round, and recover towards `aim`."""
        from edgekiln.compiler.pruning.importance import weight_scores
        from edgekiln.compiler.pruning.shrink import shrink

        stage, module = self.stage, context.module
        label = f"cut {step + 1}/{stage.steps}"
        self.ctx.advance(0, 1, f"{label}: proving which channels can go")
        goals = self.goals.after(step + 1, stage.cut_schedule, stage.steps)
        removed = self._remove_blocks(step, context, goals)
        # Again in each round: what a cut left may let other channels go.
        found = self._survey(context)
        notes = list(found.kept)
        if found.proven:
            scores = weight_scores(module, stage.importance, self._losses(context))
            notes += shrink(
                module, context.samples, found.proven, scores, goals=goals,
                multiple=stage.channel_multiple,
            )  # fmt: skip
        else:
            notes.append("nothing was cut: no group of channels may be")
        if found.proven or removed:
            self._recover(name, label, context, step, aim)
        return notes

    def _remove_blocks(
        self, step: int, context: "TrainingContext", goals: "Sequence[Goal]"
    ) -> tuple[str, ...]:
        """Remove this round's part of the blocks that may go; returns which."""
        from edgekiln.compiler.pruning.blocks import removable_blocks, remove_cheapest

        stage = self.stage
        count = stage.blocks * (step + 1) // stage.steps - stage.blocks * step // stage.steps
        if not count:
            return ()
        return remove_cheapest(
            context.module,
            context.samples,
            removable_blocks(context.module, context.samples, stage.keep),
            list(self._losses(context)),
            goals,
            count=count,
        )

    def _recover(
        self,
        name: str,
        label: str,
        context: "TrainingContext",
        step: int,
        aim: "SplitScore",
    ) -> None:
        from edgekiln.compiler.training.assess import validation_score
        from edgekiln.compiler.training.fit import fit

        stage, last = self.stage, step == self.stage.steps - 1
        share = 1.0 if last else stage.recovery_share
        epochs = math.ceil(stage.recovery_epochs * share)
        if not epochs:
            return
        # A cut that cost little is healed at the rate for trained weights, which loses none of
        # them.
        score = validation_score(context.module, context, stage.batch_size)
        little = not score.is_worse_than(aim, _LITTLE)
        # Epochs of the rounds that are over: none of these is the last.
        before = step * math.ceil(stage.recovery_epochs * stage.recovery_share)
        result = fit(
            context.module,
            context.data,
            stage.objective(context.data.task),
            stage.fit_options(
                epochs=epochs,
                default_rate=FINE_RATE if little else RATE,
                seed=stage.seed + step,  # another order in every round
            ),
            checkpoint_path=self.ctx.scratch / f"{name}.ckpt",
            teaching=self.faculty.teaching,
            advance=_labelled(label, self.ctx.advance),
            on_epoch=lambda epoch, value: self.ctx.on_epoch(before + epoch, value),
            logs=self.ctx.logs / name if self.ctx.logs else None,
        )
        self._draw(label, result)

    def _draw(self, label: str, result: "FitResult") -> None:
        self.ctx.curves.append(curves_of(label, result.history, self.faculty.marks))

    def _survey(self, context: "TrainingContext") -> "Survey":
        from edgekiln.compiler.pruning.shrink import survey

        stage = self.stage
        return survey(
            context.module, context.samples, stage.keep, whole_heads=stage.heads == "whole"
        )

    def _losses(self, context: "TrainingContext") -> "Iterator[Callable[[nn.Module], Tensor]]":
        from edgekiln.compiler.training.assess import losses_on_batches

        stage = self.stage
        return losses_on_batches(
            context, batch_size=stage.batch_size, seed=stage.seed, count=_GRADIENT_BATCHES
        )


def _labelled(label: str, advance: Advance) -> Advance:
    return lambda done, total, text: advance(done, total, f"{label}: {text}")

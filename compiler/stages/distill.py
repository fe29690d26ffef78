"""Distill: train a module, with a teacher or without."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.factory_code import file_sha256
from edgekiln.compiler.pipeline.stage import Advance, StageContext
from edgekiln.compiler.stages.augmentation_options import Check
from edgekiln.compiler.stages.training_options import FINE_RATE, OTHER_RATES, TrainingStage
from edgekiln.compiler.stages.training_phases import TrainingPhase, own
from edgekiln.compiler.stages.uses_data import used_data
from edgekiln.compiler.stages.uses_module import named_model
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from edgekiln.compiler.training.context import TrainingContext
    from edgekiln.compiler.training.options import FitOptions
    from edgekiln.compiler.training.run import FitResult
    from edgekiln.compiler.training.score import SplitScore
    from edgekiln.models.data.dataset import Dataset
    from edgekiln.targets.profile import TargetProfile

_RATE = 4e-3  # from random weights a training must go far in few epochs
_TRAINS = ("distill", "prune")  # stages that leave trained weights


@dataclass(frozen=True, kw_only=True)
class DistillStage(TrainingStage):
    """Train the module on the data; with a teacher, on what that answers as well."""

    name: ClassVar[str] = "distill"

    epochs: int = field(
        default=16, metadata={"help": "Pass this many times over the training samples."}
    )
    phase: tuple[TrainingPhase, ...] = field(
        default=(),
        metadata={
            "help": "Train in phases in place of --epochs, each epochs=N,KEY=VALUE,…: resolution, "
            "learning-rate, shift, cutout, mixup, cutmix, augment-ops, augment-strength."
        },
    )
    learning_rate: float | None = field(
        default=None,
        metadata={
            "help": f"Let the learning rate rise to this (default: {_RATE:g}; "
            f"{FINE_RATE:g} where the weights are trained; {OTHER_RATES})."
        },
    )
    teacher: str = field(
        default="",
        metadata={
            "help": "Learn from this teacher, a zoo name, package.module:factory or .pt "
            "file (default: from labels alone)."
        },
    )
    teacher_epochs: int = field(
        default=20, metadata={"help": "Train a teacher from the zoo for this many epochs first."}
    )
    init: str = field(
        default="",
        metadata={
            "help": "Start from the tensors of this checkpoint (.pt) that fit (default: from the "
            "module's own)."
        },
    )

    add_data: str = field(
        default="",
        metadata={
            "help": "Learn this data set, too, which the module does not know yet, without "
            "forgetting its own (default: none)."
        },
    )
    rehearsal: float = field(
        default=0.3,
        metadata={
            "help": "With --add-data, see this part of the module's own samples again, from 0 to 1."
        },
    )

    def checks(self) -> tuple[Check, ...]:
        return (
            *super().checks(),
            ("epochs", self.epochs >= 1, "train for at least one epoch"),
            ("rehearsal", 0 <= self.rehearsal <= 1, "give a part of the samples, from 0 to 1"),
            ("teacher_epochs", self.teacher_epochs >= 0, "give 0 or more"),
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        for number, phase in enumerate(self.phase, start=1):
            phase.check(f"distill: phase {number}")
            self._in(phase)
        if self.teacher and self.training_step:
            raise ConfigError(
                "distill: a teacher and a training-step of your own",
                hint="a step gets the model and a batch: let it ask the teacher itself",
            )

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:
        return {
            **super().uses(src, target),
            "teacher": named_model(self.teacher),
            "init": file_sha256(self.init),
            **{f"added_{name}": it for name, it in used_data(self.add_data, self.seed).items()},
        }

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.training.context import open_context
        from edgekiln.compiler.training.first_weights import initialize_by_samples
        from edgekiln.compiler.training.fit import fit
        from edgekiln.compiler.training.rehearsal import open_added, rehearsed
        from edgekiln.compiler.training.transfer import load_matching_weights
        from edgekiln.models.artifact import save_module

        context = open_context(src.path, self.data, self.seed, ctx.allow)
        if self.init:
            ctx.notes.extend(load_matching_weights(context.module, Path(self.init)))
        # By the file's own history: a training that goes on from trained weights takes small steps.
        trained = bool(self.init) or any(stage in context.meta.history for stage in _TRAINS)
        if not trained:
            initialize_by_samples(context.module, context.data)
        teacher = self._teacher(context, ctx) if self.teacher else None
        added = open_added(context, self.add_data, self.seed) if self.add_data else None
        known = self._scores(context, added)
        result = fit(
            context.module,
            rehearsed(context.data, added, share=self.rehearsal, seed=self.seed)
            if added
            else context.data,
            self.objective(context.data.task),
            self._options(FINE_RATE if trained else _RATE),
            # A stage that was killed goes on from there, for the scratch directory is its key's.
            checkpoint_path=ctx.scratch / "student.ckpt",
            teacher=teacher,
            advance=ctx.advance,
            on_epoch=ctx.on_epoch,
            logs=ctx.logs / "student" if ctx.logs else None,
        )
        ctx.notes.extend(self._remarks(result, trained=trained))
        metrics = {
            "epochs": result.epochs,
            "best_epoch": result.best_epoch,
            **(result.start.metrics("val", "_before") if trained else {}),
            **result.score.metrics("val"),
        }
        for what, after in self._scores(context, added).items():
            metrics |= known[what].metrics(what, "_before") | after.metrics(what)
            data = context.meta.data if what == "val" else self.add_data
            ctx.notes.append(f"{data}: val {known[what]} before, {after} after")
        # It travels with the weights, so that a later stage knows that they are trained.
        history = {**context.meta.history, "distill": metrics}
        save_module(dst, context.module, replace(context.meta, history=history))
        return metrics

    def _scores(
        self, context: "TrainingContext", added: "Dataset | None"
    ) -> "Mapping[str, SplitScore]":
        """How good the module is on its own data and on what was added; {}: nothing was."""
        from edgekiln.compiler.training.assess import validation_score

        if added is None:
            return {}
        data = {"val": context, "added_val": replace(context, data=added)}
        return {
            what: validation_score(context.module, each, self.batch_size)
            for what, each in data.items()
        }

    def _in(self, phase: TrainingPhase) -> Self:
        """The stage with what a phase says otherwise. Raises ConfigError: that is out of range."""
        return replace(
            self,
            phase=(),
            shift=own(phase.shift, self.shift),
            augment_ops=own(phase.augment_ops, self.augment_ops),
            augment_strength=own(phase.augment_strength, self.augment_strength),
            cutout=own(phase.cutout, self.cutout),
            mixup=own(phase.mixup, self.mixup),
            cutmix=own(phase.cutmix, self.cutmix),
        )

    def _options(self, default_rate: float) -> "FitOptions":
        from edgekiln.compiler.training.options import FitPhase

        options = self.fit_options(epochs=self.epochs, default_rate=default_rate, seed=self.seed)
        if not self.phase:
            return options
        phases = tuple(
            FitPhase(
                epochs=phase.epochs,
                augment=self._in(phase).augmentation(),
                resolution=phase.resolution,
                learning_rate=phase.learning_rate,
            )
            for phase in self.phase
        )
        return replace(options, phases=phases, epochs=sum(phase.epochs for phase in phases))

    def _remarks(self, result: "FitResult", *, trained: bool) -> list[str]:
        """What the user should know about how training went."""
        remarks = []
        if self.precision == "auto":
            remarks.append(f"trained in {result.precision}, the faster one here")
        if result.best_epoch == 0:
            remarks.append(
                f"training made it worse: the weights it began with, val {result.start}, are kept; "
                "lower --learning-rate"
            )
        elif trained and not self.add_data:
            remarks.append(f"val {result.start} before, {result.score} after")
        return remarks

    def _teacher(self, student: "TrainingContext", ctx: StageContext) -> "nn.Module":
        """Load the teacher; one from the zoo knows nothing and is trained first."""
        from edgekiln.compiler.training import teacher as teachers
        from edgekiln.compiler.training.first_weights import initialize_by_samples
        from edgekiln.compiler.training.fit import fit
        from edgekiln.compiler.training.loss import Objective

        # A file holds trained weights already.
        if Path(self.teacher).suffix == ".pt":
            return teachers.from_artifact(Path(self.teacher), student, ctx.allow)
        module = teachers.from_name(self.teacher, student, ctx.scratch, self.seed)
        # A function of the user's may load weights that are trained; one of the zoo never does.
        if ":" in self.teacher or self.teacher_epochs == 0:
            return module
        initialize_by_samples(module, student.data)
        result = fit(
            module,
            student.data,
            # From labels alone: nobody teaches the teacher.
            Objective(task=student.data.task, label_smoothing=self.label_smoothing),
            self.fit_options(epochs=self.teacher_epochs, default_rate=_RATE, seed=self.seed),
            checkpoint_path=ctx.scratch / "teacher.ckpt",
            advance=_named("teacher", ctx.advance),
            logs=ctx.logs / "teacher" if ctx.logs else None,
        )
        ctx.notes.append(f"teacher {self.teacher}: val {result.score}")
        return module


def _named(who: str, advance: Advance) -> Advance:
    return lambda done, total, text: advance(done, total, f"{who} {text}")

"""Distill: train a module, with a teacher or without."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.factory_code import file_sha256
from edgekiln.compiler.pipeline.stage import Advance, Stage, StageContext
from edgekiln.compiler.stages.uses_data import used_data
from edgekiln.compiler.stages.uses_module import (
    data_of_module,
    named_model,
    used_factory,
    used_functions,
)
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from edgekiln.compiler.training.context import TrainingContext
    from edgekiln.compiler.training.fit import FitOptions, FitResult
    from edgekiln.targets.profile import TargetProfile

# From random weights a training must go far in few epochs. Trained ones are lost at that rate: Adam
# moves each weight by about the rate in every step, whatever its gradient.
_RATE, _FINE_RATE = 4e-3, 2e-4
_TRAINS = ("distill", "prune")  # stages that leave trained weights


@dataclass(frozen=True, kw_only=True)
class DistillStage(Stage):
    """Train the module on the data; with a teacher, on what that answers as well."""

    name: ClassVar[str] = "distill"
    takes: ClassVar[tuple[Kind, ...]] = ("module",)
    gives: ClassVar[Kind] = "module"
    suffix: ClassVar[str] = ".pt"
    tools: ClassVar[tuple[str, ...]] = ("torch", "numpy")

    epochs: int = field(
        default=16, metadata={"help": "Pass this many times over the training samples."}
    )
    batch_size: int = field(
        default=32, metadata={"help": "Take this many samples a step, on each process."}
    )
    optimizer: Literal["adamw", "sgd"] = field(
        default="adamw", metadata={"help": "Step by AdamW, or by SGD with Nesterov momentum."}
    )
    learning_rate: float | None = field(
        default=None,
        metadata={
            "help": f"Let the learning rate rise to this (default: {_RATE:g}; "
            f"{_FINE_RATE:g} where the weights are trained)."
        },
    )
    weight_decay: float = field(
        default=1e-2,
        metadata={
            "help": "Let weights decay by this part times the learning rate a step; biases and "
            "norms do not."
        },
    )
    warmup_epochs: float = field(
        default=1.0,
        metadata={
            "help": "Let the learning rate rise for this many epochs; then it falls by a cosine."
        },
    )
    ema: float = field(
        default=0.98,
        metadata={
            "help": "Average the weights over steps with this decay, below 1; 0 takes the last "
            "ones."
        },
    )
    label_smoothing: float = field(
        default=0.0,
        metadata={"help": "Spread this part of a label, from 0 to below 1, over all classes."},
    )
    patience: int = field(
        default=0, metadata={"help": "Stop after this many epochs without gain; 0 never does."}
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
            "batch (default: the task's)."
        },
    )
    precision: Literal["float32", "bf16", "auto"] = field(
        default="float32",
        metadata={
            "help": "Train in these numbers; auto times both, and may choose differently elsewhere."
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
    alpha: float = field(
        default=0.7,
        metadata={
            "help": "Weigh the teacher's loss by this, from 0 to 1; the labels' gets the rest."
        },
    )
    temperature: float = field(
        default=4.0,
        metadata={
            "help": "Divide the teacher's and the student's logits by this, which softens their "
            "probabilities."
        },
    )
    init: str = field(
        default="",
        metadata={
            "help": "Start from the tensors of this checkpoint (.pt) that fit (default: from the "
            "module's own)."
        },
    )
    data: str = field(
        default="",
        metadata={"help": "Train on this data set, a name or a path (default: the model's own)."},
    )
    seed: int = field(
        default=0, metadata={"help": "Draw the splits, the order and the noise by this seed."}
    )

    def __post_init__(self) -> None:
        for name, valid, hint in (
            ("epochs", self.epochs >= 1, "train for at least one epoch"),
            ("batch_size", self.batch_size >= 2, "batch norm needs two samples or more"),
            (
                "learning_rate",
                self.learning_rate is None or self.learning_rate > 0,
                "give a positive number",
            ),
            ("weight_decay", self.weight_decay >= 0, "give 0 or more"),
            ("warmup_epochs", self.warmup_epochs >= 0, "give 0 or more"),
            ("ema", 0 <= self.ema < 1, "give 0 (none) or a number below 1, such as 0.99"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "give a number from 0 to below 1"),
            ("patience", self.patience >= 0, "give 0 (never) or more"),
            ("shift", self.shift >= 0, "give 0 or more pixels"),
            ("teacher_epochs", self.teacher_epochs >= 0, "give 0 or more"),
            ("alpha", 0 <= self.alpha <= 1, "give a number from 0 to 1"),
            ("temperature", self.temperature > 0, "give a positive number, such as 4"),
        ):
            if not valid:
                value = getattr(self, name)
                raise ConfigError(f"distill: {name.replace('_', '-')} = {value}", hint=hint)
        if self.teacher and self.training_step:
            raise ConfigError(
                "distill: a teacher and a training-step of your own",
                hint="a step gets the model and a batch: let it ask the teacher itself",
            )

    def settled(self, src: Artifact | None) -> Self:
        return replace(self, data=self.data or data_of_module(src))

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        return {
            **used_data(self.data, self.seed),
            **used_factory(src),
            "teacher": named_model(self.teacher),
            "init": file_sha256(self.init),
            **used_functions(augment=self.augment, training_step=self.training_step),
        }

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.training.context import open_context
        from edgekiln.compiler.training.fit import fit
        from edgekiln.compiler.training.loss import Objective
        from edgekiln.compiler.training.step import training_step
        from edgekiln.compiler.training.transfer import load_matching_weights
        from edgekiln.models.artifact import save_module

        context = open_context(src.path, self.data, self.seed, ctx.allow)
        if self.init:
            ctx.notes.extend(load_matching_weights(context.module, Path(self.init)))
        # By the file's own history: a training that goes on from trained weights takes small steps.
        trained = bool(self.init) or any(stage in context.meta.history for stage in _TRAINS)
        teacher = self._teacher(context, ctx) if self.teacher else None
        objective = Objective(
            task=context.data.task,
            alpha=self.alpha,
            temperature=self.temperature,
            label_smoothing=self.label_smoothing,
            step=training_step(self.training_step),
        )
        result = fit(
            context.module,
            context.data,
            objective,
            self._options(_FINE_RATE if trained else _RATE),
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
        # It travels with the weights, so that a later stage knows that they are trained.
        history = {**context.meta.history, "distill": metrics}
        save_module(dst, context.module, replace(context.meta, history=history))
        return metrics

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
        elif trained:
            remarks.append(f"val {result.start} before, {result.score} after")
        return remarks

    def _options(self, default_rate: float) -> "FitOptions":
        from edgekiln.compiler.training.batches import Augment
        from edgekiln.compiler.training.fit import FitOptions
        from edgekiln.compiler.training.step import own_change

        return FitOptions(
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            # 0 is refused above, so "or" means None.
            learning_rate=self.learning_rate or default_rate,
            weight_decay=self.weight_decay,
            warmup_epochs=self.warmup_epochs,
            ema=self.ema,
            patience=self.patience,
            augment=Augment(shift=self.shift, flip=self.flip, own=own_change(self.augment)),
            precision=self.precision,
            seed=self.seed,
        )

    def _teacher(self, student: "TrainingContext", ctx: StageContext) -> "nn.Module":
        """Load the teacher; one from the zoo knows nothing and is trained first."""
        from edgekiln.compiler.training import teacher as teachers
        from edgekiln.compiler.training.fit import fit
        from edgekiln.compiler.training.loss import Objective

        # A file holds trained weights already.
        if Path(self.teacher).suffix == ".pt":
            return teachers.from_artifact(Path(self.teacher), student, ctx.allow)
        module = teachers.from_name(self.teacher, student, ctx.scratch, self.seed)
        # A function of the user's may load weights that are trained; one of the zoo never does.
        if ":" in self.teacher or self.teacher_epochs == 0:
            return module
        result = fit(
            module,
            student.data,
            # From labels alone: nobody teaches the teacher.
            Objective(task=student.data.task, label_smoothing=self.label_smoothing),
            replace(self._options(_RATE), epochs=self.teacher_epochs),
            checkpoint_path=ctx.scratch / "teacher.ckpt",
            advance=_named("teacher", ctx.advance),
            logs=ctx.logs / "teacher" if ctx.logs else None,
        )
        ctx.notes.append(f"teacher {self.teacher}: val {result.score}")
        return module


def _named(who: str, advance: Advance) -> Advance:
    return lambda done, total, text: advance(done, total, f"{who} {text}")

"""What every stage that trains lets a user choose: declared, checked and handed on once."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage
from edgekiln.compiler.stages.augmentation_options import (
    AugmentationOptions,
    Check,
    check_of_epochs,
)
from edgekiln.compiler.stages.uses_data import used_data
from edgekiln.compiler.stages.uses_module import (
    data_of_module,
    require_allowed_factory,
    used_factory,
    used_functions,
)
from edgekiln.compiler.training.optimizer import OptimizerName
from edgekiln.compiler.training.schedule import ScheduleName
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.typed import kebab

if TYPE_CHECKING:
    from edgekiln.compiler.training.options import FitOptions
    from edgekiln.targets.profile import TargetProfile

# Trained weights are lost at the rate that random ones need: Adam moves each weight by about the
# rate in every step, whatever its gradient.
FINE_RATE = 2e-4
FRESH_RATE = 4e-3  # from random weights a training must go far in few epochs
# What of AdamW's rates suits the others: SGD's steps are as small as the gradients, Muon's are
# those of AdamW for weights that many steps agree on.
_TIMES: Mapping[OptimizerName, float] = {"adamw": 1.0, "sgd": 25.0, "muon": 2.5}
OTHER_RATES = f"of SGD {_TIMES['sgd']:g} times, of Muon {_TIMES['muon']:g} times as much"
_DECAY: Mapping[OptimizerName, float] = {"adamw": 1e-2, "sgd": 5e-4, "muon": 1e-1}


@dataclass(frozen=True, kw_only=True)
class TrainingStage(AugmentationOptions, Stage):
    """A stage that trains a module; its fields are the options of training."""

    takes: ClassVar[tuple[Kind, ...]] = ("module",)
    gives: ClassVar[Kind] = "module"
    suffix: ClassVar[str] = ".pt"
    tools: ClassVar[tuple[str, ...]] = ("torch", "numpy", "onnxruntime")

    batch_size: int = field(
        default=32, metadata={"help": "Take this many samples a step, on each process."}
    )
    optimizer: OptimizerName = field(
        default="adamw",
        metadata={
            "help": "Step by AdamW, by SGD with Nesterov momentum, or by Muon, and AdamW for what "
            "is no hidden layer's matrix."
        },
    )
    learning_rate: float | None = field(
        default=None, metadata={"help": "Let the learning rate rise to this."}
    )
    weight_decay: float | None = field(
        default=None,
        metadata={
            "help": "Let weights decay by this part times the learning rate a step; biases and "
            f"norms do not (default: {_DECAY['adamw']:g}; {_DECAY['sgd']:g} with SGD, "
            f"{_DECAY['muon']:g} with Muon)."
        },
    )
    warmup_epochs: float = field(
        default=1.0,
        metadata={
            "help": "Let the learning rate rise for this many epochs; then it falls as the "
            "schedule says."
        },
    )
    schedule: ScheduleName = field(
        default="cosine",
        metadata={
            "help": "Let the learning rate fall by a cosine, by a cosine after a rise by one, in a "
            "line to zero, never, or wherever validation stops to gain."
        },
    )
    clip: float = field(
        default=1.0,
        metadata={"help": "Shorten gradients longer than this, all together; 0 shortens none."},
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
    data: str = field(
        default="",
        metadata={"help": "Train on this data set, a name or a path (default: the model's own)."},
    )
    seed: int = field(
        default=0, metadata={"help": "Draw the splits, the order and the noise by this seed."}
    )

    def checks(self) -> tuple[Check, ...]:
        """What must hold of the options; a stage with more of them adds its own."""
        return (
            ("batch_size", self.batch_size >= 2, "batch norm needs two samples or more"),
            (
                "learning_rate",
                self.learning_rate is None or self.learning_rate > 0,
                "give a positive number",
            ),
            (
                "weight_decay",
                self.weight_decay is None or self.weight_decay >= 0,
                "give 0 or more",
            ),
            check_of_epochs("warmup_epochs", self.warmup_epochs, 0, "give 0 or more"),
            ("ema", 0 <= self.ema < 1, "give 0 (none) or a number below 1, such as 0.99"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "give a number from 0 to below 1"),
            check_of_epochs("patience", self.patience, 0, "give 0 (never) or more"),
            ("clip", self.clip >= 0, "give 0 (none) or more"),
            *self.checks_of_augmentation(),
        )

    def __post_init__(self) -> None:
        for name, valid, hint in self.checks():
            if not valid:
                value = getattr(self, name)
                shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
                raise ConfigError(f"{self.name}: {kebab(name)} = {shown}", hint=hint)

    def settled(self, src: Artifact | None) -> Self:
        return replace(self, data=self.data or data_of_module(src))

    def require_allowed(self, src: Artifact | None, allow: frozenset[str]) -> None:
        require_allowed_factory(src, allow)

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        return {
            **used_data(self.data, self.seed),
            **used_factory(src),
            **used_functions(augment=self.augment, training_step=self.training_step),
        }

    def fit_options(self, *, epochs: int, default_rate: float, seed: int) -> "FitOptions":
        """How to train by these options.

        Args:
            default_rate: the learning rate of AdamW where the user names none.
        """
        from edgekiln.compiler.training.options import FitOptions

        return FitOptions(
            epochs=epochs,
            schedule=self.schedule,
            clip=self.clip,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            # 0 is refused above, so "or" means None.
            learning_rate=self.learning_rate or default_rate * _TIMES[self.optimizer],
            weight_decay=_DECAY[self.optimizer] if self.weight_decay is None else self.weight_decay,
            warmup_epochs=self.warmup_epochs,
            ema=self.ema,
            patience=self.patience,
            augment=self.augmentation(),
            precision=self.precision,
            seed=seed,
        )

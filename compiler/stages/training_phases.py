"""Training in phases: a recipe's `[[distill.phase]]`, one table each."""

from dataclasses import dataclass, field
from typing import TypeVar

from edgekiln.compiler.stages.augmentation_options import check_of_epochs
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.typed import kebab

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class TrainingPhase:
    """Epochs that see the samples in the same way; None: as the stage's own option says."""

    epochs: int = field(metadata={"help": "Pass this many times over the training samples."})
    resolution: int = field(
        default=0,
        metadata={"help": "Train on images of this many pixels a side; 0 leaves them as they are."},
    )
    learning_rate: float | None = field(
        default=None,
        metadata={"help": "Let the learning rate begin anew, and rise to this."},
    )
    shift: int | None = field(
        default=None, metadata={"help": "Shift images by up to this many pixels."}
    )
    augment_ops: int | None = field(
        default=None, metadata={"help": "Change each image by this many random operations."}
    )
    augment_strength: float | None = field(
        default=None, metadata={"help": "Draw the strength of these from 0 to this."}
    )
    cutout: int | None = field(
        default=None, metadata={"help": "Cut a square of this many pixels a side out."}
    )
    mixup: float | None = field(
        default=None, metadata={"help": "Blend samples in pairs, by shares from Beta(this, this)."}
    )
    cutmix: float | None = field(
        default=None,
        metadata={"help": "Paste parts of other images in, of areas from Beta(this, this)."},
    )

    def check(self, where: str) -> None:
        """Raise ConfigError where an option is out of range."""
        for name, valid, hint in (
            check_of_epochs("epochs", self.epochs, 1, "train for at least one epoch"),
            ("resolution", self.resolution >= 0, "give 0 (as they are) or more pixels"),
            (
                "learning_rate",
                self.learning_rate is None or self.learning_rate > 0,
                "give a positive number",
            ),
        ):
            if not valid:
                raise ConfigError(f"{where}: {kebab(name)} = {getattr(self, name)}", hint=hint)


def own(value: T | None, general: T) -> T:
    """What a phase says, or, where it says nothing, what its stage does."""
    return general if value is None else value

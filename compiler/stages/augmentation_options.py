"""How a user says what is to be done to training samples."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edgekiln.compiler.training.augment import Augment

# Whether an option's value is valid, and what to do if not: (name, valid, hint).
Check = tuple[str, bool, str]
MAX_EPOCHS = 1_000_000  # eleven days of epochs of a second


def check_of_epochs(name: str, value: float, least: int, hint: str) -> Check:
    """What must hold of a number of epochs."""
    return name, least <= value <= MAX_EPOCHS, f"{hint}; at most {MAX_EPOCHS}"


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions:
    """Options of a stage that trains."""

    shift: int = field(
        default=2, metadata={"help": "Shift training images by up to this many pixels."}
    )
    border: Literal["zeros", "reflect"] = field(
        default="zeros",
        metadata={"help": "Fill what a shift leaves with zeros, or with the image, mirrored."},
    )
    flip: bool = field(default=False, metadata={"help": "Mirror training images left to right."})
    alternating_flip: bool = field(
        default=False,
        metadata={"help": "Mirror each training image in every other epoch, not by chance."},
    )
    augment_ops: int = field(
        default=0,
        metadata={
            "help": "Change each training image by this many random operations of RandAugment: "
            "colors, sharpness, turns, shears, moves."
        },
    )
    augment_strength: float = field(
        default=0.5, metadata={"help": "Draw the strength of these from 0 to this, at most 1."}
    )
    cutout: int = field(
        default=0,
        metadata={"help": "Cut a square of this many pixels a side out of each training image."},
    )
    mixup: float = field(
        default=0.0,
        metadata={
            "help": "Blend training samples in pairs, by shares from Beta(this, this); 0 does not."
        },
    )
    cutmix: float = field(
        default=0.0,
        metadata={
            "help": "Paste a part of another image into each, of an area from Beta(this, this); 0 "
            "does not."
        },
    )
    augment: str = field(
        default="",
        metadata={
            "help": "Change each training batch by this function, package.module:function, of a "
            "batch and a random generator (default: none)."
        },
    )

    def checks_of_augmentation(self) -> tuple[Check, ...]:
        """What must hold of these options."""
        return (
            ("shift", self.shift >= 0, "give 0 or more pixels"),
            ("augment_ops", self.augment_ops >= 0, "give 0 (none) or more"),
            ("augment_strength", 0 <= self.augment_strength <= 1, "give a number from 0 to 1"),
            ("cutout", self.cutout >= 0, "give 0 (none) or more pixels"),
            ("mixup", self.mixup >= 0, "give 0 (none) or a positive number, such as 0.2"),
            ("cutmix", self.cutmix >= 0, "give 0 (none) or a positive number, such as 1"),
        )

    def augmentation(self) -> "Augment":
        """What `fit` is to do to training samples by these options."""
        from edgekiln.compiler.training.augment import Augment
        from edgekiln.compiler.training.step import own_change

        return Augment(
            shift=self.shift,
            border=self.border,
            flip=self.flip,
            alternate=self.alternating_flip,
            operations=self.augment_ops,
            strength=self.augment_strength,
            cutout=self.cutout,
            mixup=self.mixup,
            cutmix=self.cutmix,
            own=own_change(self.augment),
        )

"""Random changes of training samples; each is a function of its seed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.compiler.training.batch import Blend, Change
from edgekiln.compiler.training.cutout import cut_out
from edgekiln.compiler.training.mixing import cut_mixed, drawn_blend, mixed_up
from edgekiln.compiler.training.policy import randomly_changed
from edgekiln.models.tasks.motion import Border, Motion
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

    from edgekiln.models.data.dataset import Split
    from edgekiln.models.tasks.heads import Head


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What is done to training samples; all but mixup and `own` are for images alone."""

    shift: int = 0  # pixels, at most, up, down, left or right
    border: Border = "zeros"  # what moves in
    flip: bool = False  # left-right, every other image; wrong for digits and text
    # Flip each image in every other epoch in place of by chance: in two epochs it is seen both
    # ways. Jordan: 94 % on CIFAR-10 in 3.29 seconds, arXiv:2404.00498, section 3.6.
    alternate: bool = False
    operations: int = 0  # random ones, after another, see `policy`
    strength: float = 0.5  # of these, from 0 to 1
    cutout: int = 0  # pixels, the side of a square cut out; 0: none
    # Parameters of the beta distribution of the shares; 0: none. With both, by turns at random.
    mixup: float = 0.0
    cutmix: float = 0.0
    own: Change | None = None  # called last

    @property
    def blends(self) -> bool:
        """Whether samples are made of two."""
        return self.mixup > 0 or self.cutmix > 0

    def motion(
        self, images: "Tensor", draw: "Generator", mirrored: "Tensor | None" = None
    ) -> Motion | None:
        """How each of these images is moved; None: they are no images, or none is.

        Args:
            mirrored: (N,) whether an image's turn to be flipped has come, with `alternate`.
        """
        import torch

        flips = self.flip or self.alternate
        if not is_images(images) or not (self.shift or flips):
            return None
        down = right = None
        if self.shift:
            drawn = torch.randint(0, 2 * self.shift + 1, (2, len(images)), generator=draw)
            down, right = self.shift - drawn
        if not self.alternate:
            mirrored = torch.rand(len(images), generator=draw) < 0.5 if flips else None
        height, width = images.shape[1:3]
        return Motion(
            down=down,
            right=right,
            mirrored=mirrored,
            height=height,
            width=width,
            border=self.border,
        )

    def change(self, images: "Tensor", fill: "Tensor", draw: "Generator") -> "Tensor":
        """Images uint8 (N, H, W, C) changed one by one; `fill`, (C,), is what is cut out."""
        if self.operations:
            images = randomly_changed(
                images,
                count=self.operations,
                strength=self.strength,
                border=self.border,
                draw=draw,
            )
        return cut_out(images, self.cutout, fill, draw) if self.cutout else images

    def blend_images(
        self, images: "Tensor", draw: "Generator"
    ) -> "tuple[Tensor, Blend | None, Blend | None]":
        """Images (N, H, W, C), how they are blended now, and how they are to be by mixup later."""
        import torch

        cuts = self.cutmix > 0 and (
            not self.mixup or bool(torch.rand((), generator=draw) < 0.5)
        )  # fmt: skip
        if not cuts:
            return images, None, self.later_blend(len(images), draw)
        images, blend = cut_mixed(images, drawn_blend(len(images), self.cutmix, draw), draw)
        return images, blend, None

    def later_blend(self, count: int, draw: "Generator") -> Blend | None:
        """How numbers are blended, of images or not; None: they are not."""
        return drawn_blend(count, self.mixup, draw) if self.mixup else None


def is_images(samples: "Tensor") -> bool:
    """Whether samples are images: uint8 (N, H, W, C)."""
    import torch

    return samples.dtype == torch.uint8 and samples.ndim == 4


def blended(x: "Tensor", blend: Blend | None) -> "Tensor":
    """Numbers as a blend of mixup has them."""
    return x if blend is None else mixed_up(x, blend)


def check_augment(augment: Augment, split: "Split", heads: "Sequence[Head]", *, own: bool) -> None:
    """Refuse changes that these samples or tasks cannot follow.

    Args:
        own: the loss is a function of the user's.

    Raises:
        ConfigError: it names the option.
    """
    images = split.x.dtype.kind == "u" and split.x.ndim == 4
    if images:
        _check_sizes(augment, *split.x.shape[1:3])
    wholes = all(head.task.of_whole_sample for head in heads)
    asked = {
        "augment-ops": augment.operations > 0,
        "cutout": augment.cutout > 0,
        "cutmix": augment.cutmix > 0,
        "mixup": augment.mixup > 0,
    }
    for name in (name for name, given in asked.items() if given):
        if not images and name != "mixup":
            raise ConfigError(f"{name}: the samples are no images", f"leave {name} out")
        if not wholes:
            raise ConfigError(
                f"{name}: the targets of this task would have to follow",
                f"it is for classification; leave {name} out",
            )
        if name in ("mixup", "cutmix") and (own or len(split.inputs) > 1):
            what = "a training-step of your own" if own else "a model of several inputs"
            raise ConfigError(f"{name}: {what} cannot have it", f"leave {name} out")


def _check_sizes(augment: Augment, height: int, width: int) -> None:
    """Refuse what may leave nothing of an image."""
    for name, pixels in (("shift", augment.shift), ("cutout", augment.cutout)):
        if pixels >= max(height, width):
            raise ConfigError(
                f"{name} = {pixels}: the images are {height} by {width} pixels",
                "give fewer pixels; an eighth of the image's are usual for a shift, a quarter "
                "for cutout",
            )

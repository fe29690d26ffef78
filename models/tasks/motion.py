"""Random moves of training images, which the targets of some tasks have to follow."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """How each image of a batch is moved: shifted first, then mirrored.

    Args:
        down, right: (N,) whole pixels; the image moves up and left where they are negative. None:
            no image is shifted.
        mirrored: (N,) whether an image is mirrored left to right. None: no image is.
        height, width: of the images, in pixels.
    """

    down: "Tensor | None"
    right: "Tensor | None"
    mirrored: "Tensor | None"
    height: int
    width: int

    def apply(self, images: "Tensor", fill: float = 0) -> "Tensor":
        """Move images (N, H, W, …); `fill` is what moves in from outside."""
        import torch

        if self.down is not None and self.right is not None:
            images = _shifted(images, self.down, self.right, fill)
        if self.mirrored is not None:
            chosen = self.mirrored.reshape(-1, *[1] * (images.ndim - 1))
            images = torch.where(chosen, images.flip(2), images)
        return images


def _shifted(images: "Tensor", down: "Tensor", right: "Tensor", fill: float) -> "Tensor":
    """Crop each image of the padded batch at its own offset."""
    import torch
    from torch.nn import functional as F

    n, height, width = images.shape[:3]
    most = int(torch.cat([down, right]).abs().max())
    # F.pad counts from the last axis: those behind (H, W) come first.
    rest = (0, 0) * (images.ndim - 3)
    padded = F.pad(images, (*rest, most, most, most, most), value=fill)
    # (N, H) and (N, W), in the padded batch, where an image begins at `most`.
    rows = (most - down)[:, None] + torch.arange(height)
    columns = (most - right)[:, None] + torch.arange(width)
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]

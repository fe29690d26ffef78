"""Random moves of training images, which the targets of some tasks have to follow."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

# What moves in from outside of an image: the fill value, or the image itself, mirrored at its edge.
Border = Literal["zeros", "reflect"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """How each image of a batch is moved: shifted first, then mirrored.

    Args:
        down, right: (N,) whole pixels; the image moves up and left where they are negative. None:
            no image is shifted.
        mirrored: (N,) whether an image is mirrored left to right. None: no image is.
        height, width: of the images, in pixels.
        border: what moves in from outside.
    """

    down: "Tensor | None"
    right: "Tensor | None"
    mirrored: "Tensor | None"
    height: int
    width: int
    border: Border = "zeros"

    def apply(self, images: "Tensor", fill: float = 0) -> "Tensor":
        """Move images (N, H, W, …); `fill` is what moves in from outside with border "zeros"."""
        import torch

        if self.down is None or self.right is None:
            if self.mirrored is None:
                return images
            chosen = self.mirrored.reshape(-1, *[1] * (images.ndim - 1))
            return torch.where(chosen, images.flip(2), images)
        n, height, width = images.shape[:3]
        # Where each row and column of the result comes from, (N, H) and (N, W).
        rows = torch.arange(height) - self.down[:, None]
        columns = torch.arange(width).expand(n, width)
        if self.mirrored is not None:
            columns = torch.where(self.mirrored[:, None], width - 1 - columns, columns)
        columns = columns - self.right[:, None]
        if self.border == "reflect":
            rows, columns = _reflected(rows, height), _reflected(columns, width)
        else:
            images, rows, columns = _padded(images, rows, columns, fill)
        # Whole pixels, by one index each: several times faster than by three.
        numbers = torch.arange(n)[:, None, None] * images.shape[1] + rows[:, :, None]
        numbers = numbers * images.shape[2] + columns[:, None, :]
        rest = images.shape[3:]
        moved = images.reshape(-1, *rest).index_select(0, numbers.flatten())
        return moved.reshape(n, height, width, *rest)


def _reflected(places: "Tensor", size: int) -> "Tensor":
    """Places outside of 0 … size − 1, mirrored at the first and the last one: −1 → 1."""
    last = size - 1
    inside = places.abs()
    # Of an image smaller than the shift the far end is as far as it goes.
    return (last - (last - inside).abs()).clamp(min=0)


def _padded(
    images: "Tensor", rows: "Tensor", columns: "Tensor", fill: float
) -> "tuple[Tensor, Tensor, Tensor]":
    """Images with a border of `fill`, and where the same rows and columns lie in them."""
    from torch.nn import functional as F

    height, width = images.shape[1:3]
    high = max(-int(rows.min()), int(rows.max()) - (height - 1), 0)
    wide = max(-int(columns.min()), int(columns.max()) - (width - 1), 0)
    # F.pad counts from the last axis: those behind (H, W) come first.
    rest = (0, 0) * (images.ndim - 3)
    padded = F.pad(images, (*rest, wide, wide, high, high), value=fill)
    return padded, rows + high, columns + wide

"""Squares cut out of training images."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


def cut_out(images: "Tensor", side: int, fill: "Tensor", draw: "Generator") -> "Tensor":
    """Images (N, H, W, C) with a square of `side` pixels each filled by `fill`, (C,) or a scalar.

    DeVries, Taylor: Cutout, arXiv:1708.04552: the square's center lies anywhere in the image, so
    that part of it may lie outside.
    """
    import torch

    n, height, width = images.shape[:3]

    def covered(size: int) -> "Tensor":
        """(N, size): which places along an axis the squares cover."""
        first = torch.randint(0, size, (n, 1), generator=draw) - side // 2
        places = torch.arange(size)
        return (places >= first) & (places < first + side)

    inside = covered(height)[:, :, None] & covered(width)[:, None, :]
    return torch.where(inside[..., None], fill, images)

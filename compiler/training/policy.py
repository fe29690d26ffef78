"""Random changes of training images, one of a list for each image.

The list and its strongest settings are RandAugment's (Cubuk et al., arXiv:1909.13719); each image
draws its own strength, as in TrivialAugment (Müller, Hutter, arXiv:2103.10158).
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from edgekiln.models.tasks.motion import Border

if TYPE_CHECKING:
    from torch import Generator, Tensor

    # Images (N, H, W, C) from 0 to 255 and strengths (N, 1, 1, 1) from −1 to 1 → images, which may
    # leave that range.
    Operation = Callable[[Tensor, Tensor], Tensor]

_FACTOR = 0.9  # of enhancements: a strength of 1 is a factor of 1.9, one of −1 of 0.1
_BITS = 4  # posterize takes away up to so many of eight
_DEGREES, _SHEAR, _SHARE = 30.0, 0.3, 0.31  # of geometry; the last one of an image's side
# ITU-R 601 luma.
_LUMA = (0.299, 0.587, 0.114)


def randomly_changed(
    images: "Tensor", *, count: int, strength: float, border: Border, draw: "Generator"
) -> "Tensor":
    """Images uint8 (N, H, W, C), each changed by `count` random operations after another.

    Args:
        strength: the strongest that is drawn, from 0 to 1.
        border: what moves in from outside where an image is turned or moved.
    """
    import torch

    operations = (*COLORS.values(), *geometry(border))
    for _ in range(count):
        n = len(images)
        # One more than there are: the last one leaves an image as it is.
        chosen = torch.randint(0, len(operations) + 1, (n,), generator=draw)
        strengths = strength * (2 * torch.rand(n, 1, 1, 1, generator=draw) - 1)
        changed = images.clone()
        for number, operation in enumerate(operations):
            mine = (chosen == number).nonzero().flatten()
            if len(mine):
                found = operation(images[mine].float(), strengths[mine])
                changed[mine] = found.round().clamp(0, 255).to(torch.uint8)
        images = changed
    return images


def _grey(x: "Tensor") -> "Tensor":
    """(N, H, W, 1): how bright each pixel is."""
    if x.shape[-1] != len(_LUMA):
        return x.mean(dim=-1, keepdim=True)
    return sum(x[..., i : i + 1] * part for i, part in enumerate(_LUMA))  # type: ignore[return-value]


def _away_from(base: "Tensor", x: "Tensor", strength: "Tensor") -> "Tensor":
    """More or less of what distinguishes `x` from `base`."""
    return base + (x - base) * (1 + _FACTOR * strength)


def _brightness(x: "Tensor", strength: "Tensor") -> "Tensor":
    return x * (1 + _FACTOR * strength)


def _contrast(x: "Tensor", strength: "Tensor") -> "Tensor":
    return _away_from(_grey(x).mean(dim=(1, 2, 3), keepdim=True), x, strength)


def _saturation(x: "Tensor", strength: "Tensor") -> "Tensor":
    return _away_from(_grey(x), x, strength)


def _sharpness(x: "Tensor", strength: "Tensor") -> "Tensor":
    """More or less of what a blur by Pillow's 3×3 kernel takes away."""
    from torch.nn import functional as F

    planes = F.pad(x.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    means = F.avg_pool2d(planes, 3, stride=1).permute(0, 2, 3, 1)
    # The kernel's center weighs 5 of 13, the other eight 1 each.
    return _away_from((9 * means + 4 * x) / 13, x, strength)


def _posterize(x: "Tensor", strength: "Tensor") -> "Tensor":
    step = 2 ** (_BITS * strength.abs()).round()
    return (x / step).floor() * step


def _solarize(x: "Tensor", strength: "Tensor") -> "Tensor":
    import torch

    return torch.where(x >= 256 * (1 - strength.abs()), 255 - x, x)


def _autocontrast(x: "Tensor", strength: "Tensor") -> "Tensor":
    """The darkest of each channel becomes black and the brightest white; no strength, both ways."""
    import torch

    del strength
    low, high = x.amin(dim=(1, 2), keepdim=True), x.amax(dim=(1, 2), keepdim=True)
    return torch.where(high > low, (x - low) * 255 / (high - low).clamp(min=1), x)


COLORS: Mapping[str, "Operation"] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
}


def geometry(border: Border) -> "tuple[Operation, ...]":
    """Turn, shear and move: each a function from strength to a matrix."""

    def turned(s: "Tensor") -> "Matrix":
        angle = s * math.radians(_DEGREES)
        return ((angle.cos(), -angle.sin(), 0 * s), (angle.sin(), angle.cos(), 0 * s))

    def sheared_across(s: "Tensor") -> "Matrix":
        return ((1 + 0 * s, _SHEAR * s, 0 * s), (0 * s, 1 + 0 * s, 0 * s))

    def sheared_down(s: "Tensor") -> "Matrix":
        return ((1 + 0 * s, 0 * s, 0 * s), (_SHEAR * s, 1 + 0 * s, 0 * s))

    def moved_across(s: "Tensor") -> "Matrix":
        return ((1 + 0 * s, 0 * s, 2 * _SHARE * s), (0 * s, 1 + 0 * s, 0 * s))

    def moved_down(s: "Tensor") -> "Matrix":
        return ((1 + 0 * s, 0 * s, 0 * s), (0 * s, 1 + 0 * s, 2 * _SHARE * s))

    return tuple(
        _affine(matrix, border)
        for matrix in (turned, sheared_across, sheared_down, moved_across, moved_down)
    )


if TYPE_CHECKING:
    # Two rows of three; the unit of length is half an image's side, as `affine_grid` counts.
    Row = tuple[Tensor, Tensor, Tensor]
    Matrix = tuple[Row, Row]


def _affine(matrix: "Callable[[Tensor], Matrix]", border: Border) -> "Operation":
    """An operation that looks up each pixel where `matrix` of the strength leads."""

    def operation(x: "Tensor", strength: "Tensor") -> "Tensor":
        import torch
        from torch.nn import functional as F

        rows = matrix(strength.flatten())
        theta = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=1)
        planes = x.permute(0, 3, 1, 2)
        grid = F.affine_grid(theta, list(planes.shape), align_corners=False)
        outside = "reflection" if border == "reflect" else "zeros"
        moved = F.grid_sample(planes, grid, padding_mode=outside, align_corners=False)
        return moved.permute(0, 2, 3, 1)

    return operation

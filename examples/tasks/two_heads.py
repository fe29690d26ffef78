"""One network with two heads: which digit it is, and how much ink it took."""

from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_digits
from torch import Tensor, nn


def samples() -> Iterator[tuple[np.ndarray, dict[str, float]]]:
    """Images (8, 8, 1) of bytes, each with its digit and the mean of its pixels, from 0 to 1."""
    digits = load_digits()
    for image, digit in zip(digits.images, digits.target, strict=True):
        pixels = (image * 255 / 16).astype(np.uint8)
        yield pixels[..., None], {"digit": int(digit), "ink": float(image.mean() / 16)}


class TwoHeads(nn.Module):
    """A backbone, and a linear layer for each task."""

    def __init__(self, width: int, digit_classes: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.digit = nn.Linear(width * 16, digit_classes)
        self.ink = nn.Linear(width * 16, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = self.backbone(x)
        return {"digit": self.digit(found), "ink": self.ink(found)}


def net(width: int = 32, digit_classes: int = 10) -> nn.Module:
    """Make the network; the data decides `digit_classes`."""
    return TwoHeads(width, digit_classes)

"""What is on a picture, and which way up it is: one backbone, two heads, Fashion-MNIST's files."""

import gzip
from pathlib import Path

import numpy as np
from torch import Tensor, nn

Picture = tuple[np.ndarray, dict[str, int]]


def samples(folder: str, most: int = 20000) -> dict[str, list[Picture]]:
    """Pictures (28, 28, 1) of bytes, each with its class and the quarter turns that it was given.

    Args:
        folder: of the four files, as https://github.com/zalandoresearch/fashion-mnist has them.
        most: pictures of a part.
    """
    return {
        part: _turned(read(folder, f"{name}-images"), read(folder, f"{name}-labels"), most)
        for part, name in (("train", "train"), ("test", "t10k"))
    }


def read(folder: str, name: str) -> np.ndarray:
    """One of the four files, in IDX: two zeros, the type, the number of axes, extents, bytes."""
    path = next(Path(folder).glob(f"{name}-idx?-ubyte.gz"), None)
    if path is None:
        raise FileNotFoundError(f"Fashion-MNIST's {name}-idx?-ubyte.gz is not in {folder}")
    content = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(content, ">i4", content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def _turned(pictures: np.ndarray, labels: np.ndarray, most: int) -> list[Picture]:
    turns = np.random.default_rng(0).integers(4, size=len(labels))
    return [
        (np.rot90(picture, turn)[..., None].copy(), {"what": int(label), "turn": int(turn)})
        for picture, label, turn in zip(pictures[:most], labels, turns, strict=False)
    ]


class Backbone(nn.Module):
    """Three convolutions, and the heads: linear layers on what they find."""

    def __init__(self, width: int, what_classes: int, turn_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((1, width), (width, 2 * width), (2 * width, 4 * width)):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.what = nn.Linear(64 * width, what_classes)
        self.turn = nn.Linear(64 * width, turn_classes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = self.layers(x)
        return {"what": self.what(found), "turn": self.turn(found)}


def net(width: int = 16, what_classes: int = 10, turn_classes: int = 4) -> nn.Module:
    """Make the network; the data decides the classes."""
    return Backbone(width, what_classes, turn_classes)

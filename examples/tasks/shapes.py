"""Where squares, discs and bars are: a data set that draws itself, and a small detector.

`python shapes.py picture.png` draws one picture more.
"""

import sys

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

SIZE, MOST, CELLS = 64, 3, 8
GRAY = 114  # what `letterbox` lays around a picture


def draw(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture (height, width, 3) of bytes, and (MOST, 5) class, center x, center y, width and
    height as shares of it; class -1 where there are fewer.
    """
    picture = rng.integers(0, 60, (height, width, 3)).astype(np.uint8)
    boxes = np.full((MOST, 5), -1, np.float32)
    rows, columns = np.mgrid[:height, :width]
    for box in boxes[: rng.integers(1, MOST + 1)]:
        kind = int(rng.integers(len(Shapes.classes)))
        half = np.array([rng.uniform(6, 11)] * 2) * width / SIZE
        if kind == 2:
            half[1] = 4 * width / SIZE
        x, y = rng.uniform(half, np.array([width, height]) - half)
        far = np.stack([(columns + 0.5 - x) / half[0], (rows + 0.5 - y) / half[1]])
        inside = np.hypot(*far) <= 1 if kind == 1 else np.abs(far).max(axis=0) <= 1
        picture[inside] = rng.integers(130, 256, 3)
        box[:] = kind, x / width, y / height, 2 * half[0] / width, 2 * half[1] / height
    return picture, boxes


def letterboxed(picture: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A square with the wide picture in its middle, and gray above and below."""
    height, width, _ = picture.shape
    above = (width - height) // 2
    square = np.full((width, width, 3), GRAY, np.uint8)
    square[above : above + height] = picture
    there = boxes[:, 0] >= 0
    boxes[there, 2] = (boxes[there, 2] * height + above) / width
    boxes[there, 4] *= height / width
    return square, boxes


class Shapes(Dataset):
    """A thousand and a half of pictures, always the same: squares, and wide ones in a letterbox, as
    the network will see what a camera gives.
    """

    classes = ("square", "disc", "bar")

    def __len__(self) -> int:
        return 1500

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(index)
        if index % 2:
            return letterboxed(*draw(rng, SIZE * 3 // 4, SIZE))
        return draw(rng, SIZE, SIZE)


class Detector(nn.Module):
    """8 × 8 cells, each with a box, as shares of the picture, and a logit for each class."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, width), (width, 2 * width), (2 * width, 4 * width)):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.backbone = nn.Sequential(*layers)
        self.box, self.kind = nn.Conv2d(4 * width, 4, 1), nn.Conv2d(4 * width, classes, 1)
        nn.init.constant_(self.kind.bias, -3.0)  # most cells hold nothing
        rows, columns = torch.meshgrid(*[torch.arange(CELLS)] * 2, indexing="ij")
        cells = torch.stack([columns, rows], dim=2).reshape(1, -1, 2) - 0.5
        self.register_buffer("cells", cells, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        found = self.backbone(x)
        box = self.box(found).flatten(2).transpose(1, 2).sigmoid()
        center = (self.cells + 2 * box[..., :2]) / CELLS
        logits = self.kind(found).flatten(2).transpose(1, 2)
        return torch.cat([center, box[..., 2:], logits], dim=2)


def net(width: int = 16, classes: int = 3) -> nn.Module:
    """Make the network; the data decides `classes`."""
    return Detector(width, classes)


if __name__ == "__main__":
    from PIL import Image

    Image.fromarray(draw(np.random.default_rng(), 96, 128)[0]).save(sys.argv[1])

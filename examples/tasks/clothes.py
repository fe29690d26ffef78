"""Clothes on photographs: where they are, and which pixels are theirs.

Fashion-MNIST's pictures lie on parts of the two photographs that scikit-learn carries: those of its
training set on their left halves, those of its test set on their right ones.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.utils.data import Dataset
from turned import read

SIZE, MOST = 64, 3
KINDS = ("top", "trousers", "dress", "shoe", "bag")
# Of Fashion-MNIST's ten: T-shirt, trousers, pullover, dress, coat, sandal, shirt, sneaker, bag and
# ankle boot.
_KIND_OF = (0, 1, 0, 2, 0, 3, 0, 3, 4, 3)
_CLOTH = 24  # brighter pixels are no background


@dataclass(frozen=True)
class Scene:
    """A picture (SIZE, SIZE, 3) of bytes, what lies on it and the class of each pixel, 0 for none.

    Boxes are (MOST, 5): class, center x, center y, width and height as shares of the picture; class
    -1 where there are fewer.
    """

    picture: np.ndarray
    boxes: np.ndarray
    pixels: np.ndarray


class Scenes(Dataset):
    """Scenes that are always the same, drawn when they are asked for."""

    classes = KINDS

    def __init__(self, folder: str, part: str, count: int, what: str) -> None:
        name = "train" if part == "train" else "t10k"
        self.part, self.count, self.what = part, count, what
        self.items, self.labels = (read(folder, f"{name}-{each}") for each in ("images", "labels"))
        photos = load_sample_images().images
        middle = photos[0].shape[1] // 2
        self.photos = [each[:, :middle] if part == "train" else each[:, middle:] for each in photos]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        scene = self.draw(np.random.default_rng((self.part == "test", index)))
        return scene.picture, getattr(scene, self.what)

    def draw(self, rng: np.random.Generator) -> Scene:
        """A scene."""
        photo = self.photos[rng.integers(len(self.photos))]
        side = int(rng.integers(SIZE, min(photo.shape[:2])))
        y, x = (int(rng.integers(extent - side + 1)) for extent in photo.shape[:2])
        part = Image.fromarray(photo[y : y + side, x : x + side]).resize((SIZE, SIZE))
        picture, pixels = np.array(part), np.zeros((SIZE, SIZE), np.uint8)
        boxes = np.full((MOST, 5), -1, np.float32)
        for box in boxes[: rng.integers(1, MOST + 1)]:
            which = int(rng.integers(len(self.items)))
            kind, long = _KIND_OF[self.labels[which]], int(rng.integers(18, 34))
            item = np.array(Image.fromarray(self.items[which]).resize((long, long)))
            left, top = rng.integers(0, SIZE - long + 1, 2)
            there = np.s_[top : top + long, left : left + long]
            cloth = item > _CLOTH
            colour = rng.uniform(0.4, 1.0, 3)
            picture[there][cloth] = (item[..., None] * colour)[cloth]
            pixels[there][cloth] = 1 + kind
            rows, columns = (np.flatnonzero(cloth.any(axis=axis)) for axis in (1, 0))
            width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
            center = left + columns[0] + width / 2, top + rows[0] + height / 2
            box[:] = kind, *(each / SIZE for each in (*center, width, height))
        return Scene(picture, boxes, pixels)


def boxes(folder: str = "fashion-mnist", count: int = 12000) -> dict[str, Scenes]:
    """Scenes with boxes; `folder` holds the four files of Fashion-MNIST."""
    return _parts(folder, count, "boxes")


def pixels(folder: str = "fashion-mnist", count: int = 6000) -> dict[str, Scenes]:
    """Scenes with the class of each pixel."""
    return _parts(folder, count, "pixels")


def _parts(folder: str, count: int, what: str) -> dict[str, Scenes]:
    sizes = {"train": count, "test": min(count, 2000)}
    return {part: Scenes(folder, part, size, what) for part, size in sizes.items()}


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    layers = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    return nn.Sequential(*layers)


class Detector(nn.Module):
    """An SSD's heads on two grids, 16 × 16 and 8 × 8: a box in each cell, as shares of the picture,
    and a logit for each class.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            _block(3, width, 2), _block(width, width), _block(width, 2 * width, 2),
            _block(2 * width, 2 * width),
        )  # fmt: skip
        self.coarse = nn.Sequential(
            _block(2 * width, 4 * width, 2), _block(4 * width, 4 * width),
            _block(4 * width, 4 * width),
        )  # fmt: skip
        self.heads = nn.ModuleList(
            nn.Conv2d(each, 4 + classes, 1) for each in (2 * width, 4 * width)
        )
        for head, cells in zip(self.heads, (16, 8), strict=True):
            nn.init.constant_(head.bias[4:], -4.0)  # most cells hold nothing
            rows, columns = torch.meshgrid(*[torch.arange(cells)] * 2, indexing="ij")
            grid = torch.stack([columns, rows], dim=2).reshape(1, -1, 2) - 0.5
            self.register_buffer(f"grid{cells}", grid, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        found = []
        for features, head in zip((fine, self.coarse(fine)), self.heads, strict=True):
            cells = features.shape[2]
            rows = head(features).flatten(2).transpose(1, 2)
            box = rows[..., :4].sigmoid()
            center = (getattr(self, f"grid{cells}") + 2 * box[..., :2]) / cells
            found.append(torch.cat([center, box[..., 2:], rows[..., 4:]], dim=2))
        return torch.cat(found, dim=1)


class Segmenter(nn.Module):
    """A U-Net (Ronneberger et al., 2015, arXiv:1505.04597): down three times, and up again beside
    what was there before.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        pairs = list(pairwise(widths))
        self.first = nn.Sequential(_block(3, width), _block(width, width))
        self.down = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), _block(before, after), _block(after, after))
            for before, after in pairs
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(after, before, 2, stride=2) for before, after in pairs[::-1]
        )
        self.beside = nn.ModuleList(
            nn.Sequential(_block(2 * before, before), _block(before, before))
            for before, _ in pairs[::-1]
        )
        self.last = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.first(x)]
        for down in self.down:
            levels.append(down(levels[-1]))
        x = levels.pop()
        for up, beside in zip(self.up, self.beside, strict=True):
            x = beside(torch.cat([up(x), levels.pop()], dim=1))
        return self.last(x)


def detector(width: int = 16, classes: int = len(KINDS)) -> nn.Module:
    """Make the network that finds boxes; the data decides `classes`."""
    return Detector(width, classes)


def segmenter(width: int = 8, classes: int = 1 + len(KINDS)) -> nn.Module:
    """Make the network that tells pixels apart; the data decides `classes`."""
    return Segmenter(width, classes)

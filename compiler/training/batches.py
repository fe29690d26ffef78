"""Batches of a split; order and augmentation are functions of the seed and the epoch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.compiler.training.reproducible import derived_seed
from edgekiln.runtime.inputs import preprocess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Generator, Tensor

    from edgekiln.models.data.dataset import Split
    from edgekiln.runtime.manifest import Preprocessing


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes of training images; samples of floats are left alone."""

    shift: int = 0  # pixels, at most, up, down, left or right; zeros move in
    flip: bool = False  # left-right, every other image; wrong for digits and text

    def __call__(self, images: "Tensor", seed: int) -> "Tensor":
        """Images (N, H, W, C), each shifted and flipped by its own draw."""
        import torch

        if images.dtype != torch.uint8 or not (self.shift or self.flip):
            return images
        draw = torch.Generator().manual_seed(seed)
        if self.shift:
            images = _shifted(images, self.shift, draw)
        if self.flip:
            chosen = torch.rand(len(images), generator=draw) < 0.5
            # Axis 2 is the width of (N, H, W, C).
            images = torch.where(chosen[:, None, None, None], images.flip(2), images)
        return images


@dataclass(frozen=True, kw_only=True)
class Batches:
    """One split, batch by batch, as a model takes it: x float32, y int64 class indices.

    `rank` and `size` deal the samples out over a data-parallel world, each rank as many batches.
    """

    split: "Split"
    preprocessing: "Preprocessing"
    batch_size: int
    seed: int = 0
    augment: Augment = Augment()
    rank: int = 0
    size: int = 1

    def __len__(self) -> int:
        """Training batches an epoch on each rank. A last, smaller batch is left out."""
        return max(1, self._share() // self.batch_size)

    def training(self, epoch: int) -> "Iterator[tuple[Tensor, Tensor]]":
        """`len(self)` shuffled, augmented batches; another order each epoch."""
        import torch

        shuffle = torch.Generator().manual_seed(derived_seed(self.seed, epoch))
        order = torch.randperm(len(self.split), generator=shuffle)
        # Every rank as many samples: the first ones come again, as in DistributedSampler.
        order = order.repeat(2)[: self._share() * self.size][self.rank :: self.size]
        for number in range(len(self)):
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
            images, labels = self._take(chosen)
            images = self.augment(images, derived_seed(self.seed, epoch, number, self.rank))
            yield self._prepared(images), labels

    def in_order(self) -> "Iterator[tuple[Tensor, Tensor]]":
        """This rank's part of all samples once, as they are; for measuring."""
        import torch

        mine = torch.arange(self.rank, len(self.split), self.size)
        for chosen in torch.split(mine, self.batch_size):
            images, labels = self._take(chosen)
            yield self._prepared(images), labels

    def _share(self) -> int:
        return -(-len(self.split) // self.size)

    def _take(self, chosen: "Tensor") -> "tuple[Tensor, Tensor]":
        import torch

        indices = chosen.numpy()
        return torch.from_numpy(self.split.x[indices]), torch.from_numpy(self.split.y[indices])

    def _prepared(self, images: "Tensor") -> "Tensor":
        import torch

        return torch.from_numpy(preprocess(images.numpy(), self.preprocessing))


def _shifted(images: "Tensor", most: int, draw: "Generator") -> "Tensor":
    """Crop each image of the zero-padded batch at its own offset."""
    import torch
    from torch.nn import functional as F

    n, height, width, _ = images.shape
    # `pad` counts from the last axis: nothing around channels, `most` around width and height.
    padded = F.pad(images, (0, 0, most, most, most, most))
    down, right = torch.randint(0, 2 * most + 1, (2, n), generator=draw)
    rows = down[:, None] + torch.arange(height)
    columns = right[:, None] + torch.arange(width)
    # Three indices that broadcast to (N, H, W); the channels follow as they are.
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]

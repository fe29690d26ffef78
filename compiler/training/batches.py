"""Batches of a split; order and augmentation are functions of the seed and the epoch."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.training.augment import Augment, blended, is_images
from edgekiln.compiler.training.batch import Batch
from edgekiln.compiler.training.pixels import can_normalize, mean_pixel, normalized, resized
from edgekiln.compiler.training.reproducible import derived_seed
from edgekiln.models.data.dataset import ready

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Generator, Tensor

    from edgekiln.models.data.dataset import Split
    from edgekiln.models.tasks.heads import Head
    from edgekiln.runtime.manifest import Preprocessing


@dataclass(frozen=True, kw_only=True)
class Batches:
    """One split, batch by batch, as a model takes it.

    `rank` and `size` deal the samples out over a data-parallel world, each rank as many batches.
    The targets of `heads` follow when images are moved; where one cannot, no image is.
    """

    split: "Split"
    preprocessing: "Preprocessing | None"
    batch_size: int
    heads: "Sequence[Head]" = ()
    seed: int = 0
    augment: Augment = field(default_factory=Augment)
    resolution: int = 0  # pixels of both sides of training images; 0: as they are
    channels_last: bool = False  # the memory format of images (N, C, H, W)
    rank: int = 0
    size: int = 1

    def __len__(self) -> int:
        """Training batches an epoch on each rank. A last, smaller batch is left out."""
        return max(1, self._share() // self.batch_size)

    def training(self, epoch: int) -> "Iterator[Batch]":
        """`len(self)` shuffled, augmented batches; another order each epoch."""
        import torch

        shuffle = torch.Generator().manual_seed(derived_seed(self.seed, epoch))
        order = torch.randperm(len(self.split), generator=shuffle)
        # Every rank as many samples: the first ones come again, as in DistributedSampler.
        order = order.repeat(2)[: self._share() * self.size][self.rank :: self.size]
        for number in range(len(self)):
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
            seed = derived_seed(self.seed, epoch, number, self.rank)
            draw = torch.Generator().manual_seed(seed)
            mirrored = self._turns[chosen] ^ bool(epoch % 2) if self.augment.alternate else None
            batch = self._changed(self._moved(self._take(chosen), draw, mirrored), draw)
            if self.augment.own is not None:
                batch = self.augment.own(batch, torch.Generator().manual_seed(seed))
            yield batch

    def in_order(self) -> "Iterator[Batch]":
        """This rank's part of all samples once, as they are; for measuring."""
        import torch

        mine = torch.arange(self.rank, len(self.split), self.size)
        for chosen in torch.split(mine, self.batch_size):
            yield self._prepared(self._take(chosen))

    def _share(self) -> int:
        return -(-len(self.split) // self.size)

    @cached_property
    def _turns(self) -> "Tensor":
        """(samples,) whether an image is flipped in the first epoch, and then in every other one;
        drawn once, the same on every rank.
        """
        import torch

        draw = torch.Generator().manual_seed(derived_seed(self.seed))
        return torch.rand(len(self.split), generator=draw) < 0.5

    def _take(self, chosen: "Tensor") -> Batch:
        import torch

        taken = self.split.take(chosen.numpy())
        return Batch(
            inputs={name: torch.from_numpy(array) for name, array in taken.inputs.items()},
            targets={name: torch.from_numpy(array) for name, array in taken.targets.items()},
        )

    def _moved(self, batch: Batch, draw: "Generator", mirrored: "Tensor | None") -> Batch:
        motion = self.augment.motion(batch.x, draw, mirrored)
        if motion is None:
            return batch
        targets = dict(batch.targets)
        for head in self.heads:
            moved = head.task.moved(targets[head.name], motion)
            if moved is None:
                return batch
            targets[head.name] = moved
        return replace(batch.with_first(motion.apply(batch.x)), targets=targets)

    def _changed(self, batch: Batch, draw: "Generator") -> Batch:
        """The batch prepared, its images changed before and its numbers blended after that."""
        if not is_images(batch.x):
            later = self.augment.later_blend(len(batch), draw)
            prepared = self._prepared(batch)
            return replace(prepared.with_first(blended(prepared.x, later)), blend=later)
        fill = mean_pixel(batch.x, self.preprocessing)
        images = self.augment.change(batch.x, fill, draw)
        images, cut, later = self.augment.blend_images(images, draw)
        if self.resolution:
            images = resized(images, self.resolution)
        prepared = self._prepared(batch.with_first(images))
        return replace(prepared.with_first(blended(prepared.x, later)), blend=cut or later)

    def _prepared(self, batch: Batch) -> Batch:
        import torch

        alone = len(batch.inputs) == 1
        if alone and self.preprocessing and can_normalize(batch.x, self.preprocessing):
            x = normalized(batch.x, self.preprocessing, channels_last=self.channels_last)
            return batch.with_first(x)
        raw = {name: tensor.numpy() for name, tensor in batch.inputs.items()}
        inputs = ready(raw, self.preprocessing)
        arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        return replace(batch, inputs={k: torch.from_numpy(a) for k, a in arrays.items()})

"""Batches of a split; order and augmentation are functions of the seed and the epoch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.training.reproducible import derived_seed
from edgekiln.models.data.dataset import ready
from edgekiln.models.tasks.motion import Motion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch
    from torch import Generator, Tensor

    from edgekiln.models.data.dataset import Split
    from edgekiln.models.tasks.heads import Head
    from edgekiln.runtime.manifest import Preprocessing


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """N samples as a model takes them, and what it should answer.

    Args:
        inputs: (N, …) by name, in the order of `forward`; "" is the name of the only one.
        targets: (N, …) by the name of the head; "" is the name of the only one.
    """

    inputs: "Mapping[str, Tensor]"
    targets: "Mapping[str, Tensor]"

    @property
    def x(self) -> "Tensor":
        """The first input."""
        return next(iter(self.inputs.values()))

    @property
    def y(self) -> "Tensor":
        """The first target."""
        return next(iter(self.targets.values()))

    @property
    def arguments(self) -> "tuple[Tensor, ...]":
        """The inputs as `forward` takes them."""
        return tuple(self.inputs.values())

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: "torch.device") -> "Batch":
        """The batch on another device."""
        return Batch(
            inputs={name: tensor.to(device) for name, tensor in self.inputs.items()},
            targets={name: tensor.to(device) for name, tensor in self.targets.items()},
        )


# A user's own changes of training batches: a batch as a model takes it, and what random numbers are
# to be drawn from.
Change = Callable[[Batch, "Generator"], Batch]


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes of training images; samples of floats are left alone."""

    shift: int = 0  # pixels, at most, up, down, left or right; zeros move in
    flip: bool = False  # left-right, every other image; wrong for digits and text
    own: Change | None = None  # called last

    def __call__(self, images: "Tensor", seed: int) -> "Tensor":
        """Images (N, H, W, C), each shifted and flipped by its own draw."""
        motion = self.motion(images, seed)
        return images if motion is None else motion.apply(images)

    def motion(self, images: "Tensor", seed: int) -> Motion | None:
        """How each of these images is moved; None: they are no images, or none is."""
        import torch

        if images.dtype != torch.uint8 or images.ndim != 4 or not (self.shift or self.flip):
            return None
        draw = torch.Generator().manual_seed(seed)
        down = right = mirrored = None
        if self.shift:
            drawn = torch.randint(0, 2 * self.shift + 1, (2, len(images)), generator=draw)
            down, right = self.shift - drawn
        if self.flip:
            mirrored = torch.rand(len(images), generator=draw) < 0.5
        height, width = images.shape[1:3]
        return Motion(down=down, right=right, mirrored=mirrored, height=height, width=width)


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
    augment: Augment = Augment()
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
            batch = self._prepared(self._moved(self._take(chosen), seed))
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

    def _take(self, chosen: "Tensor") -> Batch:
        import torch

        taken = self.split.take(chosen.numpy())
        return Batch(
            inputs={name: torch.from_numpy(array) for name, array in taken.inputs.items()},
            targets={name: torch.from_numpy(array) for name, array in taken.targets.items()},
        )

    def _moved(self, batch: Batch, seed: int) -> Batch:
        motion = self.augment.motion(batch.x, seed)
        if motion is None:
            return batch
        targets = dict(batch.targets)
        for head in self.heads:
            moved = head.task.moved(targets[head.name], motion)
            if moved is None:
                return batch
            targets[head.name] = moved
        first = next(iter(batch.inputs))
        return Batch(inputs={**batch.inputs, first: motion.apply(batch.x)}, targets=targets)

    def _prepared(self, batch: Batch) -> Batch:
        import torch

        raw = {name: tensor.numpy() for name, tensor in batch.inputs.items()}
        inputs = ready(raw, self.preprocessing)
        arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        return replace(batch, inputs={k: torch.from_numpy(a) for k, a in arrays.items()})

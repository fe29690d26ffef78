"""A `Dataset` of one's own, a network for it, and a loss that neither task nor tool knows."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from edgekiln.compiler.training.batch import Batch


class Digits(Dataset[tuple[Tensor, int]]):
    """Handwritten digits, 8×8, as (1, 8, 8) floats from 0 to 1, with their class."""

    classes = tuple("0123456789")

    def __init__(self) -> None:
        digits = load_digits()
        self.images = torch.from_numpy(digits.images).float()[:, None] / 16
        self.labels = digits.target.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.labels[index]


def net(classes: int = 10, width: int = 16) -> nn.Module:
    """Make a small convolutional network; the data set decides `classes`."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(width * 16, classes),
    )


def focal_loss(model: nn.Module, batch: Batch, gamma: float = 2.0) -> Tensor:
    """Cross entropy in which what is easy weighs little (Lin et al., arXiv:1708.02002)."""
    log_p = F.log_softmax(model(batch.x), dim=1).gather(1, batch.y[:, None])[:, 0]
    return -((1 - log_p.exp()) ** gamma * log_p).mean()

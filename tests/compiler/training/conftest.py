"""A tiny data set and network that learn something in a second."""

import numpy as np
import pytest
import torch
from torch import nn

from edgekiln.models.data.dataset import Dataset, Split
from edgekiln.runtime.manifest import Preprocessing


def stripes(samples: int, seed: int) -> Split:
    """Noisy 8×8 images, brighter at the top, the bottom, the left or the right."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 4, samples)
    x = draw.integers(0, 120, (samples, 8, 8, 1))
    for image, label in zip(x, y, strict=True):
        half = (slice(0, 4), slice(4, 8))[label % 2]
        image[half if label < 2 else (slice(None), half)] += 90
    return Split.of(x=x.astype(np.uint8), y=y.astype(np.int64))


def small_data() -> Dataset:
    return Dataset(
        name="stripes",
        classes=("top", "bottom", "left", "right"),
        task="classification",
        preprocessing=Preprocessing(color="L"),
        train=stripes(192, 0),
        val=stripes(64, 1),
        calib=stripes(16, 2),
        test=stripes(64, 3),
    )


@pytest.fixture(scope="session")
def data() -> Dataset:
    return small_data()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def tiny(seed: int = 0, width: int = 8) -> nn.Module:
    """Convolution, batch norm, dropout: everything whose state must survive a restart."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.1),
        nn.Flatten(),
        nn.Linear(width * 16, 4),
    )

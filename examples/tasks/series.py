"""Who speaks, by a recurrent network or by a convolution along the time: series of `sktime`."""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

Series = tuple[np.ndarray, int]  # (channels, steps), and its class


def samples(name: str = "JapaneseVowels", steps: int = 29) -> dict[str, list[Series]]:
    """The training and the test part of a data set that lies in sktime's package.

    Args:
        name: such as JapaneseVowels, ItalyPowerDemand, BasicMotions.
        steps: of each series; before the first one of a shorter series stand zeros.
    """
    found = importlib.util.find_spec("sktime")  # found, not imported: that takes what we need not
    if found is None or found.origin is None:
        raise ModuleNotFoundError("the series' package: pip install --no-deps sktime==1.2.0")
    home = Path(found.origin).parent / "datasets" / "data" / name
    return {
        part.lower(): [_series(line, steps) for line in _lines(home / f"{name}_{part}.ts")]
        for part in ("TRAIN", "TEST")
    }


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().split("\n") if line and line[0] not in "#@"]


def _series(line: str, steps: int) -> Series:
    """A line of the format `.ts`: channels between colons, values between commas, then the class,
    which counts from 1.
    """
    *channels, label = line.split(":")
    x = np.array([channel.split(",") for channel in channels], np.float32)[:, -steps:]
    return np.pad(x, ((0, 0), (steps - x.shape[1], 0))), int(label) - 1


class Recurrent(nn.Module):
    """A GRU, whose last state tells the class."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, width, batch_first=True)
        self.out = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(x.transpose(1, 2))
        logits: Tensor = self.out(states[:, -1])
        return logits


def gru(channels: int = 12, width: int = 64, classes: int = 9) -> nn.Module:
    """Make the recurrent network; the data decides `classes`."""
    return Recurrent(channels, width, classes)


class Convolved(nn.Module):
    """Three convolutions along the time, and their mean over it."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((channels, width), (width, 2 * width), (2 * width, 2 * width)):
            layers += [
                nn.Conv1d(before, after, 5, padding=2),
                nn.BatchNorm1d(after),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(torch.mean(self.layers(x), dim=2))
        return logits


def cnn(channels: int = 12, width: int = 32, classes: int = 9) -> nn.Module:
    """Make the convolutional network; the data decides `classes`."""
    return Convolved(channels, width, classes)

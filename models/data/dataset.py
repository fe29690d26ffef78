"""What a loaded data set is: four disjoint splits and how their samples become model input."""

from dataclasses import asdict, dataclass, field
from hashlib import sha256
from json import dumps
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekiln.runtime.manifest import Preprocessing

Task = Literal["classification", "reconstruction"]
Samples = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Split:
    """x: uint8 images (N, H, W, C) or float32 vectors (N, F); y: int64 class indices (N,)."""

    x: Samples
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, indices: NDArray[np.int64]) -> "Split":
        """The samples at these indices, in this order."""
        return Split(x=self.x[indices], y=self.y[indices])


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a reader found, before it is split. `test` is None where the files have no such part."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split | None = None
    task: Task = "classification"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Train, validation, calibration and test samples, no sample in two of them."""

    name: str
    classes: tuple[str, ...]
    task: Task
    preprocessing: Preprocessing
    train: Split
    val: Split
    calib: Split
    test: Split
    notes: tuple[str, ...] = ()
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", _fingerprint(self))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one preprocessed sample, without the batch axis."""
        shape = self.train.x.shape[1:]
        match self.preprocessing.layout:
            case "NCHW":
                height, width, channels = shape
                return (channels, height, width)
            case "N*":
                return (int(np.prod(shape)),)
            case _:
                return shape


def _fingerprint(dataset: Dataset) -> str:
    """SHA-256 (hex) over everything a stage can see: all samples, labels, names and the preprocessing."""
    header: dict[str, Any] = {
        "classes": dataset.classes,
        "task": dataset.task,
        "preprocessing": asdict(dataset.preprocessing),
    }
    digest = sha256(dumps(header, sort_keys=True).encode())
    for split in (dataset.train, dataset.val, dataset.calib, dataset.test):
        for array in (split.x, split.y):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()

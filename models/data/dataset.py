"""What a loaded data set is: four disjoint splits and how their samples become model input."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from json import dumps
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekiln.runtime.codec import encode
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.manifest import Preprocessing

Task = Literal["classification", "reconstruction"]
_MAX_LABEL = 2**31  # larger ones are no class indices

Samples = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Split:
    """x: uint8 images (N, H, W, C) or float32 samples (N, …); y: int64 class indices (N,)."""

    x: Samples
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, indices: NDArray[np.int64]) -> "Split":
        """The samples at these indices, in this order."""
        return Split(x=self.x[indices], y=self.y[indices])


@dataclass(frozen=True, kw_only=True)
class UnsplitData:
    """What a reader found, before it is split.

    `test` and `val` are None where the files have no such part: then `train` is split.
    """

    classes: tuple[str, ...]
    train: Split
    test: Split | None = None
    val: Split | None = None
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
    numbers_given: bool = False  # scale, mean or std: by the options, not by the samples
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        # Once and for all: it reads every sample.
        object.__setattr__(self, "fingerprint", _fingerprint(self))

    @property
    def scored(self) -> bool:
        """Whether the test part tells how good a model is: by classes or two kinds of sample."""
        return self.task == "classification" or len(np.unique(self.test.y)) > 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one preprocessed sample, without the batch axis."""
        shape = self.train.x.shape[1:]
        match self.preprocessing.layout:
            case "NCHW" if len(shape) == 3:
                height, width, channels = shape
                return (channels, height, width)
            case "N*":
                return (int(np.prod(shape)),)
            case _:
                return shape


def labelled(
    where: str, x: NDArray[np.generic], y: NDArray[np.generic], classes: int | None = None
) -> Split:
    """Check arrays a user gave and bring them to the form of `Split`.

    Args:
        where: the path, and the part of it, for messages.
        x: uint8 (N, H, W) or (N, H, W, 1|3), or floats (N, …).
        y: integers (N,) or (N, 1).
        classes: how many there are, where the files say so.

    Raises:
        InputError: other shapes or types, values that are not finite, counts that differ, labels
            out of range.
    """
    samples = _checked_samples(where, x)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise InputError(
            f"{where}: labels are {y.dtype} of shape {y.shape}, expected integers of shape (N,)",
            hint="one class index a sample; one-hot labels: y.argmax(1)",
        )
    if len(samples) != len(y):
        raise InputError(
            f"{where}: {len(samples)} samples and {len(y)} labels", hint="one label a sample"
        )
    limit = _MAX_LABEL if classes is None else classes
    if len(y) and (y.min() < 0 or y.max() >= limit):
        wrong = y.min() if y.min() < 0 else y.max()
        most = "" if classes is None else f" and below {classes}"
        raise InputError(f"{where}: label {wrong} is out of range", hint=f"labels are ≥ 0{most}")
    return Split(x=samples, y=y.astype(np.int64))


def class_numbers(where: str, parts: Sequence[Split]) -> tuple[str, ...]:
    """Names for classes that the files only number: "0", "1", … up to the largest label.

    Raises:
        InputError: a label so large that most of these classes would have no sample.
    """
    count = 1 + max(int(part.y.max(initial=-1)) for part in parts)
    if count > (samples := sum(map(len, parts))):
        raise InputError(
            f"{where}: label {count - 1} among {samples} samples",
            hint="labels count from 0, and every class needs samples",
        )
    return tuple(map(str, range(count)))


def _checked_samples(where: str, x: NDArray[Any]) -> Samples:  # a user's array, of any numbers
    if x.ndim == 3 and x.dtype == np.uint8:
        x = x[..., None]
    if 0 in x.shape[1:]:
        raise InputError(
            f"{where}: samples of shape {x.shape[1:]} hold nothing", hint="are all files complete?"
        )
    if x.ndim == 4 and x.dtype == np.uint8 and x.shape[3] in (1, 3):
        return x
    if x.ndim > 1 and x.dtype.kind == "f":
        with np.errstate(all="ignore"):  # too large for float32 becomes infinite, which is refused
            floats = x.astype(np.float32)
        if not np.isfinite(floats).all():
            raise InputError(f"{where}: holds values that are not finite", hint="remove them")
        return floats
    hint = "images are uint8 (N, H, W) or (N, H, W, 1 or 3); other samples are floats (N, …)"
    if x.ndim == 4 and x.dtype == np.uint8 and x.shape[1] in (1, 3):
        hint = "put the channels last: x.transpose(0, 2, 3, 1)"
    raise InputError(f"{where}: samples are {x.dtype} of shape {x.shape}", hint=hint)


def _fingerprint(dataset: Dataset) -> str:
    """SHA-256 (hex) over all a stage can see: samples, labels, names and the preprocessing."""
    header: dict[str, object] = {
        "classes": dataset.classes,
        "task": dataset.task,
        "preprocessing": encode(dataset.preprocessing),
    }
    digest = sha256(dumps(header, sort_keys=True).encode())
    for split in (dataset.train, dataset.val, dataset.calib, dataset.test):
        for array in (split.x, split.y):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()

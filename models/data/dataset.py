"""What a loaded data set is: four disjoint splits and how their samples become model input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from json import dumps

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.tasks.classification import checked_labels
from edgekiln.models.tasks.heads import Head, heads_of
from edgekiln.models.tasks.task import Array, Arrays, OutputFacts
from edgekiln.runtime.codec import encode
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.inputs import preprocess
from edgekiln.runtime.manifest import Preprocessing

ONLY = ""  # the name of the input, or of the target, where there is one


@dataclass(frozen=True, kw_only=True)
class Split:
    """N samples, and what a model should answer to them.

    Args:
        inputs: by name, or `ONLY`: uint8 images (N, H, W, C), or numbers (N, …).
        targets: by the head that answers, or `ONLY`: class indices (N,) as int64, or what the task
            takes, (N, …).
    """

    inputs: Arrays
    targets: Arrays

    @classmethod
    def of(cls, *, x: Array, y: Array) -> "Split":
        """Samples of one input with one target each."""
        return cls(inputs={ONLY: x}, targets={ONLY: y})

    @property
    def x(self) -> Array:
        """The samples of the first input."""
        return next(iter(self.inputs.values()))

    @property
    def y(self) -> Array:
        """The first target of each sample."""
        return next(iter(self.targets.values()))

    def __len__(self) -> int:
        return len(self.y)

    def take(self, indices: NDArray[np.int64]) -> "Split":
        """The samples at these indices, in this order."""
        return Split(
            inputs={name: array[indices] for name, array in self.inputs.items()},
            targets={name: array[indices] for name, array in self.targets.items()},
        )


@dataclass(frozen=True, kw_only=True)
class UnsplitData:
    """What a reader found, before it is split.

    `test` and `val` are None where the files have no such part: then `train` is split.
    """

    classes: tuple[str, ...]  # of the first head
    train: Split
    test: Split | None = None
    val: Split | None = None
    task: str = "classification"  # unless the options say another
    by_column: bool = False  # each item of a vector has a scale of its own, as in a table
    as_given: bool = False  # floats are the model's own numbers already
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Train, validation, calibration and test samples, no sample in two of them."""

    name: str
    classes: tuple[str, ...]  # of the first head
    task: str  # as `heads_of` reads it
    preprocessing: Preprocessing | None  # of the first input; None: its own numbers
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
    def heads(self) -> tuple[Head, ...]:
        """The tasks, each with the name of its targets."""
        return heads_of(self.task)

    @property
    def scored(self) -> bool:
        """Whether the test part tells how good a model is."""
        return all(head.task.can_judge(self.test.targets[head.name]) for head in self.heads)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one preprocessed sample of the first input, without the batch axis."""
        return next(iter(self.ready(self.train.take(np.arange(1)).inputs).values())).shape[1:]

    def ready(self, inputs: Arrays) -> dict[str, Array]:
        """Samples as a model takes them."""
        return ready(inputs, self.preprocessing)

    def classes_of(self, head: Head) -> int:
        """How many classes a head tells apart; 0: it is not about classes."""
        if head.name == self.heads[0].name and self.classes:
            return len(self.classes)
        parts = (self.train, self.val, self.calib, self.test)
        return max(head.task.classes_in(part.targets[head.name]) for part in parts)

    def facts(self, head: Head) -> OutputFacts:
        """What decides the shape of a head's output."""
        return OutputFacts(
            classes=self.classes_of(head),
            input_shape=self.input_shape,
            target_shape=self.train.targets[head.name].shape[1:],
        )

    def with_inputs(self, names: Mapping[str, str]) -> "Dataset":
        """The same samples, their inputs in the order of `names`: new name → the one it had."""

        def renamed(split: Split) -> Split:
            return replace(split, inputs={new: split.inputs[old] for new, old in names.items()})

        return replace(
            self,
            train=renamed(self.train),
            val=renamed(self.val),
            calib=renamed(self.calib),
            test=renamed(self.test),
        )


def ready(inputs: Arrays, preprocessing: Preprocessing | None) -> dict[str, Array]:
    """Raw samples as a model takes them: the first input preprocessed, floats as float32."""
    found: dict[str, Array] = {}
    for place, (name, array) in enumerate(inputs.items()):
        if place == 0 and preprocessing is not None:
            found[name] = preprocess(array, preprocessing)
        else:
            floats = array.dtype.kind == "f"
            found[name] = array.astype(np.float32, copy=False) if floats else array
    return found


def labelled(where: str, x: Array, y: Array, classes: int | None = None) -> Split:
    """Check arrays a user gave and bring them to the form of `Split`, for classification.

    Args:
        where: the path, and the part of it, for messages.
        x: uint8 (N, H, W) or (N, H, W, 1|3), or floats (N, …).
        y: integers (N,) or (N, 1).
        classes: how many there are, where the files say so.

    Raises:
        InputError: other shapes or types, values that are not finite, counts that differ, labels
            out of range.
    """
    samples = checked_samples(where, x)
    if y.ndim:  # else it is no row of labels, which is told below
        check_counts(where, len(samples), len(y))
    return Split.of(x=samples, y=checked_labels(where, y, classes))


def check_counts(where: str, samples: int, labels: int) -> None:
    """Raise InputError unless there is one label a sample."""
    if samples != labels:
        raise InputError(f"{where}: {samples} samples and {labels} labels", "one label a sample")


def class_numbers(where: str, parts: Sequence[Split]) -> tuple[str, ...]:
    """Names for classes that the files only number: "0", "1", … up to the largest label. Raises
    InputError as `check_numbers`.
    """
    count = check_numbers(where, [part.y for part in parts])
    return tuple(map(str, range(count)))


def check_numbers(where: str, parts: Sequence[Array]) -> int:
    """How many classes labels count, of which each gets a name.

    Raises:
        InputError: they do not begin at 0, or most of these classes would have no sample.
    """
    labels = np.concatenate([part.astype(np.int64).reshape(-1) for part in parts])
    high = int(labels.max(initial=-1))
    if (first := int(labels.min(initial=high))) > 0:
        raise InputError(
            f"{where}: labels are {first} to {high}, and classes count from 0",
            hint=f"take {first} from each label",
        )
    if high >= len(labels):
        raise InputError(
            f"{where}: label {high} among {len(labels)} samples",
            hint="labels count from 0, and every class needs samples; of numbers: "
            "--task regression",
        )
    return high + 1


def checked_samples(where: str, x: Array) -> Array:
    """Images as uint8 (N, H, W, C), others as float32 (N, …).

    Raises:
        InputError: anything else.
    """
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
    if x.ndim == 2 and x.dtype.kind in "iu":
        hint = (
            "labelled samples are images or floats; numbers of tokens can --calibrate without "
            "labels, and are labelled as text: reviews.csv?text=…&vocabulary=…"
        )
    raise InputError(f"{where}: samples are {x.dtype} of shape {x.shape}", hint=hint)


def _fingerprint(dataset: Dataset) -> str:
    """SHA-256 (hex) over all a stage can see: samples, targets, names and the preprocessing."""
    header: dict[str, object] = {
        "classes": dataset.classes,
        "task": dataset.task,
        "preprocessing": encode(dataset.preprocessing),
    }
    digest = sha256(dumps(header, sort_keys=True).encode())
    for split in (dataset.train, dataset.val, dataset.calib, dataset.test):
        for name, array in (*split.inputs.items(), *split.targets.items()):
            digest.update(f"{name}\0{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()

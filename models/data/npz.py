"""NumPy archives: `x_train`, `y_train`, or `x`, `y`, or `images`, `labels`; and perhaps `x_test`,
`y_test`, `x_val`, `y_val`. An optional `classes` names them. Vectors without labels are to be
reconstructed.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.dataset import (
    Split,
    UnsplitData,
    check_counts,
    checked_samples,
    class_numbers,
    labelled,
)
from edgekiln.models.data.limits import DATA
from edgekiln.models.data.options import INPUTS, Options
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.npy import read_archive

Arrays = dict[str, NDArray[np.generic]]

_TRAIN = (("x_train", "y_train"), ("x", "y"), ("images", "labels"))
_TEST = (("x_test", "y_test"),)
_VAL = (("x_val", "y_val"), ("x_valid", "y_valid"))
_CLASSES = "classes"
# What samples and labels may be called, for those who ask what an archive holds.
SAMPLES = tuple(keys[0] for keys in (*_TRAIN, *_TEST, *_VAL))
LABELS = tuple(keys[1] for keys in (*_TRAIN, *_TEST, *_VAL))


def fits(path: Path) -> bool:
    """Whether this is a NumPy archive, by its name."""
    return path.suffix.lower() == ".npz"


def read(path: Path, options: Options) -> UnsplitData:
    """Raises InputError: unreadable, pickled, keys missing, or arrays that do not fit."""
    arrays = read_archive(path, DATA)
    train_keys = _found(arrays, _TRAIN)
    if train_keys is None:
        raise InputError(
            f"{path}: has no samples; its arrays are {', '.join(sorted(arrays)) or 'none'}",
            hint="name them x_train, y_train, x_test, y_test; or x, y",
        )
    x_key, y_key = train_keys
    train = _part(path, arrays, *train_keys, options.task)
    used = {*train_keys, _CLASSES}
    held_out: dict[str, Split] = {}
    for part, names in (("test", _TEST), ("val", _VAL)):
        if (keys := _found(arrays, names)) is None:
            continue
        held_out[part] = _part(path, arrays, *keys, options.task)
        used |= set(keys)
        if held_out[part].x.shape[1:] != train.x.shape[1:]:
            raise InputError(
                f"{path}: {keys[0]} holds samples of shape {held_out[part].x.shape[1:]}, "
                f"{x_key} of {train.x.shape[1:]}",
                hint="all samples need one shape",
            )
    unused = sorted(set(arrays) - used)
    notes = (f"arrays left out: {', '.join(unused)}",) if unused else ()
    classes: tuple[str, ...]
    if y_key not in arrays:
        classes, task = (), "reconstruction"
    elif options.task:
        classes, task = _given_names(arrays), options.task
    else:
        classes, task = _names(path, arrays, [train, *held_out.values()]), "classification"
    return UnsplitData(
        classes=classes,
        train=train,
        test=held_out.get("test"),
        val=held_out.get("val"),
        task=task,
        notes=notes,
    )


def _found(arrays: Arrays, names: tuple[tuple[str, str], ...]) -> tuple[str, str] | None:
    """The first of the names of samples and labels whose samples are there."""
    return next((keys for keys in names if keys[0] in arrays), None)


def _part(path: Path, arrays: Arrays, x_key: str, y_key: str, task: str) -> Split:
    x = arrays[x_key]
    if y_key in arrays and task:  # which says itself what its targets are
        samples = checked_samples(f"{path}: {x_key}", x)
        check_counts(f"{path}: {x_key}", len(samples), len(np.atleast_1d(arrays[y_key])))
        return Split.of(x=samples, y=arrays[y_key])
    if y_key in arrays:
        try:
            return labelled(f"{path}: {x_key}", x, arrays[y_key])
        except InputError as error:
            if arrays[y_key].ndim < 2:
                raise
            also = f"where both are a model's inputs, and no labels: ?{INPUTS}={x_key},{y_key}"
            raise InputError(error.message, hint=f"{error.hint}; {also}") from error
    # Vectors alone are reconstructed. Where the training samples have labels, the others need them.
    if x.ndim != 2 or "y_train" in arrays:
        raise InputError(
            f"{path}: {x_key} has no labels",
            hint=f"add {y_key}: one class index a sample; without labels they can --calibrate",
        )
    return labelled(f"{path}: {x_key}", x, np.zeros(len(x), np.int64))


def _names(path: Path, arrays: Arrays, parts: list[Split]) -> tuple[str, ...]:
    numbers = class_numbers(str(path), parts)
    if _CLASSES not in arrays:
        return numbers
    names = _given_names(arrays)
    if len(names) < len(numbers):
        raise InputError(
            f"{path}: label {len(numbers) - 1} is out of range: {len(names)} classes are named",
            hint="labels count from 0",
        )
    return names


def _given_names(arrays: Arrays) -> tuple[str, ...]:
    return tuple(str(name) for name in arrays[_CLASSES].ravel()) if _CLASSES in arrays else ()

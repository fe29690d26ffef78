"""NumPy archives: `x_train`, `y_train` and perhaps `x_test`, `y_test`; or `x`, `y`; or `images`,
`labels`. An optional `classes` names them. Vectors without labels are to be reconstructed.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.dataset import Source, Split, labelled
from edgekiln.models.data.options import Options
from edgekiln.runtime.errors import InputError

_TRAIN = (("x_train", "y_train"), ("x", "y"), ("images", "labels"))
_TEST = ("x_test", "y_test")

Arrays = dict[str, NDArray[np.generic]]


def fits(path: Path) -> bool:
    """Whether this is a NumPy archive, by its name."""
    return path.suffix == ".npz"


def read(path: Path, _options: Options) -> Source:
    """Raises InputError: unreadable, pickled, keys missing, or arrays that do not fit."""
    arrays = _load(path)
    for keys in _TRAIN:
        if keys[0] in arrays:
            break
    else:
        raise InputError(
            f"{path}: has no samples; its arrays are {', '.join(sorted(arrays)) or 'none'}",
            hint="name them x_train, y_train, x_test, y_test; or x, y",
        )
    train = _part(path, arrays, *keys)
    test = _part(path, arrays, *_TEST) if _TEST[0] in arrays else None
    if test is not None and test.x.shape[1:] != train.x.shape[1:]:
        raise InputError(
            f"{path}: {_TEST[0]} holds samples of shape {test.x.shape[1:]}, "
            f"{keys[0]} of {train.x.shape[1:]}",
            hint="all samples need one shape",
        )
    if keys[1] not in arrays:
        return Source(classes=(), train=train, test=test, task="reconstruction")
    return Source(classes=_names(path, arrays, train, test), train=train, test=test)


def _load(path: Path) -> Arrays:
    damaged = InputError(f"{path}: not a NumPy archive, or damaged", hint="is the file complete?")
    if not zipfile.is_zipfile(path):
        raise damaged
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise damaged from error
        raise InputError(
            f"{path}: holds Python objects, not only arrays",
            hint="loading it could run code: save plain arrays, np.savez(path, x=…, y=…)",
        ) from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise damaged from error


def _part(path: Path, arrays: Arrays, x_key: str, y_key: str) -> Split:
    x = arrays[x_key]
    if y_key in arrays:
        return labelled(f"{path}: {x_key}", x, arrays[y_key])
    if x.ndim != 2 or "y_train" in arrays:
        raise InputError(
            f"{path}: {x_key} has no labels", hint=f"add {y_key}: one class index a sample"
        )
    return labelled(f"{path}: {x_key}", x, np.zeros(len(x), np.int64))


def _names(path: Path, arrays: Arrays, train: Split, test: Split | None) -> tuple[str, ...]:
    count = 1 + max(int(part.y.max(initial=-1)) for part in (train, test) if part is not None)
    if "classes" not in arrays:
        return tuple(str(label) for label in range(count))
    names = tuple(str(name) for name in arrays["classes"].ravel())
    if len(names) < count:
        raise InputError(
            f"{path}: label {count - 1} is out of range: {len(names)} classes are named",
            hint="labels count from 0",
        )
    return names

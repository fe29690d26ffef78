"""NumPy archives without labels: their arrays are samples of a model's inputs."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.dataset import ONLY
from edgekiln.models.data.limits import DATA
from edgekiln.models.data.npz import LABELS, SAMPLES, fits
from edgekiln.models.data.options import INPUTS
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.npy import names_in, read_archive

Arrays = dict[str, NDArray[np.generic]]


def has_inputs(path: Path, given: Mapping[str, str]) -> bool:
    """Whether an archive holds samples alone. A model may call its inputs x and y, too, which
    only the option `inputs` tells from samples and labels.
    """
    return fits(path) and (INPUTS in given or _has_no_labels(path))


def read_inputs(path: Path, inputs: Collection[str]) -> Arrays:
    """The arrays by input name, `inputs` where such are named; a single one is of the only input,
    whatever it is called.

    Raises:
        InputError: damaged, or one that is named is not there, or holds no numbers.
    """
    found = read_archive(path, DATA)
    arrays = {name: array for name, array in found.items() if array.dtype.kind in "biuf"}
    if missing := [name for name in inputs if name not in arrays]:
        raise InputError(
            f"{path}: has no array {missing[0]!r} of numbers",
            hint=f"its arrays are {', '.join(sorted(found)) or 'none'}",
        )
    if inputs:
        return {name: arrays[name] for name in inputs}
    if len(arrays) == 1:
        return {ONLY: next(iter(arrays.values()))}
    return arrays


def _has_no_labels(path: Path) -> bool:
    names = names_in(path, DATA)
    if not any(name in names for name in SAMPLES):
        return True  # they are named after a model's inputs
    if any(name in names for name in LABELS):
        return False
    if len(names) > 1:
        return True
    # One array of vectors is to be reconstructed, see `npz`; whole numbers, as of tokens, are not.
    (only,) = read_archive(path, DATA).values()
    return only.ndim != 2 or only.dtype.kind != "f"

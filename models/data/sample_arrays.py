"""What is done to samples without labels, arrays by the inputs' names, before they are split."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.images import as_asked
from edgekiln.models.data.option_kinds import check_pictures
from edgekiln.models.data.options import Options
from edgekiln.models.data.transform import transform_of
from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.images import CHANNELS

Samples = Mapping[str, NDArray[np.generic]]


def as_pictures(name: str, arrays: Samples, options: Options) -> Samples:
    """The arrays, those of pixels in the size, the middle and the color that options ask for.

    Raises:
        ConfigError: such an option is given, and no array holds pictures.
    """
    found = {
        key: array if array.ndim == 4 else array[..., None]
        for key, array in arrays.items()
        if array.dtype == np.uint8
        and (array.ndim == 3 or (array.ndim == 4 and array.shape[-1] in CHANNELS.values()))
    }
    if not found:
        check_pictures(name, options)
    if (options.size, options.crop, options.color) == (None, None, None):
        return arrays
    pictures = {key: array.astype(np.uint8, copy=False) for key, array in found.items()}
    return {**arrays, **{key: as_asked(each, options, name) for key, each in pictures.items()}}


def transformed(name: str, arrays: Samples, reference: str) -> Samples:
    """The samples of the only input, changed by a function of the user's.

    Raises:
        ConfigError, InputError: of several inputs; or as `transform_of`.
    """
    if len(arrays) > 1:
        raise ConfigError(
            f"{name}: transform goes with samples of one input, these are of {', '.join(arrays)}",
            hint="leave it out, and change the samples before they are saved",
        )
    change = transform_of(reference)
    return {key: change(array) for key, array in arrays.items()}


def in_streams(name: str, array: NDArray[np.generic], steps: int) -> NDArray[np.generic]:
    """(N, …) samples that follow each other as (N // steps, steps, …)."""
    count = len(array) // steps if array.ndim else 0
    if not count:
        raise InputError(
            f"{name}: holds {len(array) if array.ndim else 1} samples, no stream of {steps}",
            hint="give more, or shorter streams by ?steps=",
        )
    return array[: count * steps].reshape(count, steps, *array.shape[1:])


def common_length(name: str, arrays: Samples) -> int:
    """How many samples each input has. Raises InputError: none, or not as many as another."""
    if not arrays:
        raise InputError(f"{name}: holds no arrays of numbers", hint="give (N, …) arrays")
    for key, array in arrays.items():
        if not array.ndim or not array.size:
            raise InputError(
                f"{name}: array {key!r} of shape {array.shape} holds no samples".replace(" ''", ""),
                hint="the first axis is the samples': (N, …)",
            )
    counts = {key: len(array) for key, array in arrays.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{count} of {key}" for key, count in counts.items())
        raise InputError(
            f"{name}: has {listed}", hint="give every input the same number of samples"
        )
    return next(iter(counts.values()))


def finite(name: str, key: str, array: NDArray[np.generic]) -> NDArray[np.generic]:
    """The array. Raises InputError: it holds NaN or an infinity."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        of = f" of {key}" if key else ""
        raise InputError(f"{name}: samples{of} hold values that are not finite", hint="remove them")
    return array

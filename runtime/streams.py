"""Streams: programs that remember are called step by step.

The steps of a stream are one array for each input: (T, *shape) for T steps; an axis of extent 1 at
the front of the program's own shape is the steps', so that (1, 512) becomes (T, 512).
"""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.errors import InputError
from edgekiln.runtime.manifest import of_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import TensorSpec
    from edgekiln.runtime.runner import Runner


def without_one(array: "NDArray[np.generic]", spec: "TensorSpec") -> "NDArray[np.generic]":
    """(T, 1, …) as (T, …), where the program's own shape begins with 1."""
    spare = spec.shape[:1] == (1,) and array.shape[1:] == spec.shape
    return array[:, 0] if spare else array


def run_steps(
    runner: "Runner", arrays: "Sequence[NDArray[np.generic]]"
) -> "list[NDArray[np.generic]]":
    """Go on with a stream by all steps of the arrays, each of the form of `of_steps`.

    Raises:
        InputError: the inputs have different numbers of steps.
    """
    steps = [
        array.reshape(-1, *spec.shape) for array, spec in zip(arrays, runner.inputs, strict=True)
    ]
    counts = sorted({len(each) for each in steps})
    if len(counts) > 1:
        raise InputError(
            f"the inputs have {' and '.join(map(str, counts))} steps",
            hint="give every input the same number of steps",
        )
    results = [runner.run(*given) for given in zip(*steps, strict=True)]
    return [
        np.stack(parts).reshape(-1, *of_steps(spec).shape[1:])
        for parts, spec in zip(zip(*results, strict=True), runner.outputs, strict=True)
    ]

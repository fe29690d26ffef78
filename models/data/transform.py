"""A user's own transform of samples, `?transform=package.module:function`."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.models.data.dataset import Split
from edgekiln.models.data.limits import DATA
from edgekiln.models.zoo.factories import resolve
from edgekiln.runtime.errors import EdgeKilnError, InputError

if TYPE_CHECKING:
    from edgekiln.models.tasks.task import Array


def transform_of(reference: str) -> Callable[[Split], Split]:
    """The change of a split by a function that gets one sample of the first input and returns one:
    an array as the reader gives it → an array, all of one shape.

    Raises:
        ConfigError, InputError: no such function; or, when called, it raised, or what it gave is no
            sample.
    """
    made = resolve(reference)

    def changed(split: Split) -> Split:
        rows: list[Array] = []
        size = 0
        for number, sample in enumerate(split.x):
            try:
                row: Array = np.asarray(made.call(sample, **made.kwargs))
            except EdgeKilnError:
                raise
            except Exception as error:  # whatever the user's own function does
                raise InputError(
                    f"{reference}: raised {type(error).__name__} on sample {number} of shape "
                    f"{sample.shape}: {error}",
                    hint="it gets a sample as an array and returns one",
                ) from error
            # Truth values, integers and floats; text, complex numbers and objects are no samples.
            if row.dtype.kind not in "biuf" or (rows and row.shape != rows[0].shape):
                first = f", sample 0 {rows[0].shape}" if rows else ""
                raise InputError(
                    f"{reference}: gave {row.dtype} {row.shape} for sample {number}{first}",
                    hint="return numbers of one shape for every sample",
                )
            rows.append(row)
            DATA.check(size := size + row.nbytes, reference, "give fewer samples: ?limit=500")
        x = np.stack(rows)
        if x.dtype.kind == "f":
            x = x.astype(np.float32)
            if not np.isfinite(x).all():
                raise InputError(
                    f"{reference}: gave values that are not finite", hint="such as log(0)"
                )
        first_name = next(iter(split.inputs))
        return replace(split, inputs={**split.inputs, first_name: x})

    return changed

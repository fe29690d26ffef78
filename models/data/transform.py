"""A user's own transform of samples, `?transform=package.module:function`."""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.models.data.limits import DATA
from edgekiln.models.zoo.factories import resolve
from edgekiln.runtime.errors import EdgeKilnError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekiln.models.tasks.task import Array


def transform_of(reference: str) -> "Callable[[Array], Array]":
    """The change of samples, (N, …), by a function that gets one and returns one: an array as the
    reader gives it → an array, all of one shape.

    Raises:
        ConfigError, InputError: no such function; or, when called, it raised, or what it gave is no
            sample.
    """
    made = resolve(reference)

    def changed(samples: "Array") -> "Array":
        rows: list[Array] = []
        size = 0
        for number, sample in enumerate(samples):
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
        return x

    return changed

"""Numbers for a program's inputs where there is no data."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import TensorSpec


def random_input(spec: "TensorSpec", draw: np.random.Generator) -> "NDArray[np.generic]":
    """Standard normal floats, none so small that arithmetic on it would be slow; any bytes.

    Wider integers are 0 or 1: mostly they number the rows of a table, and every table has two.
    """
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return draw.standard_normal(spec.shape).astype(dtype)
    if dtype.itemsize == 1 and dtype.kind != "b":
        limits = np.iinfo(dtype)
        return draw.integers(limits.min, limits.max, spec.shape, dtype, endpoint=True)
    return draw.integers(0, 2, spec.shape).astype(dtype)

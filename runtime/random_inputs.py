"""Numbers for a program's inputs where there is no data."""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.manifest import ID, TEXT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import TensorSpec


def random_input(spec: "TensorSpec", draw: np.random.Generator) -> "NDArray[np.generic]":
    """Standard normal floats, none so small that arithmetic on it would be slow; any bytes, codes
    and samples of sound, and of text words of letters; ids of any size.

    Other wider integers are 0 or 1: mostly they number the rows of a table, and every table has
    two.
    """
    dtype = np.dtype(spec.dtype)
    if spec.holds == TEXT:
        return _text(spec.shape, draw)
    if dtype.kind == "f":
        return draw.standard_normal(spec.shape).astype(dtype)
    if _is_any(spec, dtype):
        limits = np.iinfo(dtype)
        return draw.integers(limits.min, limits.max, spec.shape, dtype, endpoint=True)
    return draw.integers(0, 2, spec.shape).astype(dtype)


def _is_any(spec: "TensorSpec", dtype: "np.dtype[np.generic]") -> bool:
    """Whether every number of an integer type is as good as another."""
    are_numbers = dtype.itemsize == 1 or spec.scale is not None or spec.rate_hz > 0
    return spec.holds == ID or (dtype.kind != "b" and are_numbers)


_LETTERS = "eeee tttt aaaa oooo iiii nnn sss hhh rrr ddd lll cu mw fg y,. EÄß中😀"


def _text(shape: tuple[int, ...], draw: np.random.Generator) -> "NDArray[np.uint8]":
    """Rows of a quarter to all of the bytes there are, as if they were written in some language."""
    rows, room = shape
    made = np.zeros(shape, np.uint8)
    for row in range(rows):
        written = "".join(draw.choice([*_LETTERS], room)).encode()
        size = int(draw.integers(room // 4, room + 1))
        made[row, :size] = np.frombuffer(written[:size], np.uint8)
    return made

"""Memory for a GPU's kernel, with noise around it that the kernel must leave alone."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edgekiln.compiler.ir.memory import OVERREAD_BYTES

Array = np.ndarray[Any, Any]
GUARD = 64  # bytes on either side of what a kernel writes


def on_guarded_blocks(
    run: Callable[[list[Array]], list[Array]], writes: int = 1
) -> Callable[..., None]:
    """A kernel as `f(*arrays)`, in the order of its parameters; the last ones are written.

    Args:
        run: runs it on blocks of bytes, in which the arrays begin at `GUARD`; gives what lies there
            afterwards.
        writes: how many of the arrays are results.
    """

    def call(*arrays: Array) -> None:
        blocks = [block_of(array) for array in arrays]
        results = run([block.copy() for block in blocks])
        for index, (before, after) in enumerate(zip(blocks, results, strict=True)):
            if index >= len(arrays) - writes:
                result = arrays[index]
                written = slice(GUARD, GUARD + result.nbytes)
                result[...] = after[written].view(result.dtype).reshape(result.shape)
                before[written] = after[written]
            assert np.array_equal(before, after), "a kernel wrote outside of its result"

    return call


def block_of(array: Array) -> Array:
    """The array's bytes between guards, with noise where nobody may care what it is."""
    block = np.full(GUARD + array.nbytes + max(GUARD, OVERREAD_BYTES), 0xAA, np.uint8)
    block[GUARD : GUARD + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return block

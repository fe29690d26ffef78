"""What a kernel is once it is built, and how tensors are cut into even shares of work."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Code, Nhwc, PrimFunc

# Elements of a work item that is one long run in memory: at most, and at least to be worth a
# thread's while.
_MOST_SHARE, _LEAST_SHARE = 4096, 64


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A TensorIR function and the constants that belong to it.

    The function is low-level TIR (no blocks): its parameters are one-dimensional buffers in the
    order inputs, `constants`, output; then, when `work` > 0, two int32 scalars `begin, end`: the
    call computes items begin..end-1 of `work` independent items (rows, say), so threads can share
    it. Buffers are aligned to 64 bytes. It has no name yet: equal functions share one symbol.

    Args:
        tensors: bytes of each input and of the output.
    """

    code: Code
    constants: tuple[NDArray[np.generic], ...] = ()
    work: int = 0
    tensors: tuple[int, ...] = ()

    @property
    def func(self) -> PrimFunc:
        """The function, which is made when it is first asked for."""
        return self.code.func


def even_share(count: int, size: int = 1) -> int:
    """How many of `count` units of `size` elements side by side to give to a work item, so that all
    items have as many.
    """
    most = max(1, min(count, _MOST_SHARE // size))
    share = next(share for share in range(most, 0, -1) if count % share == 0)
    return share if share * size >= _LEAST_SHARE else count


def in_rows(*tensors: Nhwc) -> tuple[Nhwc, ...]:
    """Return tensors of one shape with their pixels in other rows, each enough for a work item.

    They are returned as they are where a border lies between the pixels.
    """
    shapes = {(t.n, t.h, t.w, t.c) for t in tensors}
    if len(shapes) > 1 or any(t.halo for t in tensors):
        return tensors
    n, h, w, c = shapes.pop()
    row = even_share(n * h * w, c)
    return tuple(replace(t, n=1, h=n * h * w // row, w=row) for t in tensors)

"""What a kernel is told about its tensors, and what it gives back."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.ir.memory import Code, Nhwc

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


# Bytes of an item of what is one long run in memory: enough to be worth a thread's while.
_PIECE, _LEAST_PIECE = 4096, 64


def piece(count: int, size: int = 1) -> int:
    """How many of `count` units of `size` elements side by side to give to an item: even shares."""
    most = max(1, min(count, _PIECE // size))
    share = next(share for share in range(most, 0, -1) if count % share == 0)
    return share if share * size >= _LEAST_PIECE else count


def in_rows(*tensors: Nhwc) -> tuple[Nhwc, ...]:
    """Tensors of one shape with their pixels in other rows, each enough for an item; as they are
    where a border lies between the pixels.
    """
    shapes = {(t.n, t.h, t.w, t.c) for t in tensors}
    if len(shapes) > 1 or any(t.halo for t in tensors):
        return tensors
    n, h, w, c = shapes.pop()
    row = piece(n * h * w, c)
    return tuple(replace(t, n=1, h=n * h * w // row, w=row) for t in tensors)


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A TensorIR function and the constants that belong to it.

    The function is low-level TIR (no blocks): its parameters are one-dimensional buffers in the
    order inputs, `constants`, output; then, when `work` > 0, two int32 scalars `begin, end`: the
    call computes items begin..end-1 of `work` independent items (rows, say), so threads can share
    it. Buffers are aligned to 64 bytes. It has no name yet: equal functions share one symbol.
    """

    code: Code
    constants: "tuple[NDArray[np.generic], ...]" = ()
    work: int = 0
    tensors: tuple[int, ...] = ()  # bytes of the inputs and of the output

    @property
    def func(self) -> Any:
        return self.code.func

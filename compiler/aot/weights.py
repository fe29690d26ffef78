"""The constants of a program as one read-only block, each aligned, equal ones stored once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.compiler.aot.planner import ALIGN
from edgekiln.compiler.ir.memory import OVERREAD_BYTES
from edgekiln.compiler.ir.program import Const, Program

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class WeightsBlob:
    """`offsets[i]` is where the i-th constant argument of the program lies, in order of use."""

    blob: bytes
    offsets: Sequence[int]


def pack(program: Program) -> WeightsBlob:
    """Lay out every `Const` argument, calls first to last."""
    blob = bytearray()
    placed: dict[bytes, int] = {}
    offsets = []
    for call in program.calls:
        for arg in call.args:
            if not isinstance(arg, Const):
                continue
            content = _bytes(arg.array)
            if content not in placed:
                # Kernels load whole vectors, from multiples of 64 bytes on.
                blob += bytes(-len(blob) % ALIGN)
                placed[content] = len(blob)
                blob += content
            offsets.append(placed[content])
    return WeightsBlob(blob=bytes(blob) + bytes(OVERREAD_BYTES), offsets=offsets)


def _bytes(array: "NDArray[np.generic]") -> bytes:
    """The array in C order and the targets' byte order. Types with equal bytes may share them."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()

"""The constants of a program as one read-only block, each aligned, equal ones stored once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    """Lay out every `Const` argument, calls first to last.

    Of a program with points the larger ones come first: a smaller point whose constant is a part of
    one that lies there already, such as the first channels of a filter, reads it from there.
    """
    layout = _BlobLayout()
    by_call = [
        [_bytes(arg.array) for arg in call.args if isinstance(arg, Const)] for call in program.calls
    ]

    def weight(calls: range) -> int:
        return sum(len(content) for index in calls for content in by_call[index])

    for calls in sorted(program.runs, key=weight, reverse=True):
        for index in calls:
            for content in by_call[index]:
                layout.place(content, within=bool(program.points))
    return WeightsBlob(
        blob=bytes(layout.blob) + bytes(OVERREAD_BYTES),
        offsets=[layout.placed[content] for contents in by_call for content in contents],
    )


@dataclass
class _BlobLayout:
    blob: bytearray = field(default_factory=bytearray)
    placed: dict[bytes, int] = field(default_factory=dict)

    def place(self, content: bytes, *, within: bool) -> None:
        """Find the content a place; with `within`, one in what lies there already, if it can."""
        if content in self.placed:
            return
        at = self._found(content) if within and content else None
        if at is None:
            # Kernels load whole vectors, from multiples of 64 bytes on.
            self.blob += bytes(-len(self.blob) % ALIGN)
            at = len(self.blob)
            self.blob += content
        self.placed[content] = at

    def _found(self, content: bytes) -> int | None:
        at = self.blob.find(content)
        while at % ALIGN and at != -1:
            at = self.blob.find(content, at + 1)
        return None if at == -1 else at


def _bytes(array: "NDArray[np.generic]") -> bytes:
    """The array in C order and the targets' byte order. Types with equal bytes may share them."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()

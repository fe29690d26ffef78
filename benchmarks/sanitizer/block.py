"""Memory that ends, or begins, at a page which may be neither read nor written."""

import ctypes
import mmap
import os
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgekiln.compiler.aot.planner import ALIGN
from edgekiln.compiler.ir.memory import OVERREAD_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAGE = mmap.PAGESIZE

# Which end of the memory lies at a page that may not be touched.
Edge = Literal["end", "begin"]
EDGES: tuple[Edge, ...] = ("end", "begin")

# What lies in memory before it is written: zeros, ones, a pattern, NaN as float32. A page holds a
# whole number of each.
FILLINGS: dict[str, bytes] = {
    "00": b"\x00", "ff": b"\xff", "aa": b"\xaa", "nan": np.float32(np.nan).tobytes(),
}  # fmt: skip

_NONE, _READ = 0, 1  # PROT_NONE and PROT_READ of <sys/mman.h>
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class MemoryFaultError(Exception):
    """Compiled code touched what is not its own, or its result depends on what was in memory."""


class GuardedBlock:
    """`size` bytes at a multiple of 64, in pages of their own between two forbidden ones.

    `room` more bytes, which may be read, lie behind them. At edge "end" these reach to the last 63
    bytes before the forbidden page, so that the start keeps its alignment; at "begin" the first
    byte is the first behind the forbidden page.
    """

    def __init__(
        self, name: str, size: int, *, edge: Edge, filling: bytes, room: int = OVERREAD_BYTES
    ) -> None:
        self.name, self.size, self._filling = name, size, filling
        #   edge "end"      | forbidden | filling …  bytes  room | forbidden |
        #   edge "begin"    | forbidden | bytes  room  filling … | forbidden |
        #                   one page      `usable`, whole pages    one page
        usable = max(PAGE, -(-(size + room) // PAGE) * PAGE)
        self._all = np.frombuffer(mmap.mmap(-1, usable + 2 * PAGE), np.uint8)
        self._usable = self._all[PAGE:-PAGE]
        self._usable[:] = np.frombuffer(filling * (usable // len(filling)), np.uint8)
        self._start = (usable - size - room) // ALIGN * ALIGN if edge == "end" else 0
        self.bytes: NDArray[np.uint8] = self._usable[self._start : self._start + size]
        self.address = self._usable.ctypes.data + self._start
        self._protect(0, PAGE, _NONE)
        self._protect(usable + PAGE, PAGE, _NONE)

    def put(self, array: "NDArray[np.generic]") -> None:
        """Copy an array to the start."""
        assert array.nbytes == self.size, self.name
        self.bytes[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    def forbid(self, offset: int, size: int) -> None:
        """Whole pages of it may not be touched any more, by this process neither."""
        self._protect(PAGE + self._start + offset, size, _NONE)

    def only_read(self) -> None:
        """No byte of it may be written from now on."""
        self._protect(PAGE, len(self._usable), _READ)

    def holds(self, address: int) -> bool:
        """Whether an address lies in it or in one of the two forbidden pages beside it."""
        first = self._all.ctypes.data
        return first <= address < first + len(self._all)

    def tell(self, address: int) -> str:
        """Where an address that it holds lies."""
        return told(address - self.address, self.size, self.name)

    def check(self) -> None:
        """Raises MemoryFaultError: something beside the bytes was written."""
        for what, begin, end in (
            ("before", 0, self._start),
            ("behind", self._start + self.size, len(self._usable)),
        ):
            check_filled(self._usable[begin:end], self._filling, begin, f"{what} {self.name}")

    def _protect(self, offset: int, size: int, how: int) -> None:
        if _LIBC.mprotect(self._all.ctypes.data + offset, size, how):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def told(at: int, size: int, name: str) -> str:
    """A place in words, `at` bytes from the start of what has a name and `size` bytes."""
    if at < 0:
        return f"{-at} B before {name}"
    return f"byte {at} of {name}" if at < size else f"{at - size} B behind the end of {name}"


def check_filled(memory: "NDArray[np.uint8]", filling: bytes, offset: int, where: str) -> None:
    """Raises MemoryFaultError: `memory`, at `offset` in its page, has not the filling any more."""
    pattern = np.frombuffer(filling, np.uint8)
    # The pattern as it runs on from the beginning of the page.
    right = np.resize(np.roll(pattern, -(offset % len(filling))), len(memory))
    if (wrong := np.flatnonzero(memory != right)).size:
        raise MemoryFaultError(
            f"writes {wrong.size} B {where}, at {int(wrong[0])} of {len(memory)}"
        )

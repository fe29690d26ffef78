"""Where libraries ask CPUID: found by decoding each function that has its two bytes."""

import os
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.runtime.errors import MissingToolError

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

_CPUID = b"\x0f\xa2"
_GPUS = "nvidia"  # the packages of CUDA's libraries, gigabytes that choose no kernels of a CPU
_INSTALL = "install it: pip install capstone pyelftools"
# How .eh_frame_hdr is written by every linker: eh_frame_ptr, fde_count and table. Linux Standard
# Base Core 5.0, 10.6.2; the encodings are DWARF's, ibid. 10.5.1.
_ENCODINGS = bytes((1, 0x1B, 0x03, 0x3B))


def places(roots: Sequence[Path]) -> dict[Path, list[int]]:
    """The addresses of CPUID in each library below some directories.

    Raises:
        MissingToolError: what decodes machine code is not installed.
    """
    files = {
        path.resolve()
        for root in roots
        for path in _libraries(root)
        if _GPUS not in path.parts and path.is_file() and _is_code(path)
    }
    found = {path: asked(path) for path in sorted(files)}
    return {path: addresses for path, addresses in found.items() if addresses}


def _libraries(root: Path) -> Iterator[Path]:
    """What is named as a library, in linked folders, too; each once, for links make circles."""
    seen: set[str] = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            inner.clear()
            continue
        seen.add(real)
        yield from (Path(folder, name) for name in names if ".so" in name)


def _is_code(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def asked(path: Path) -> list[int]:
    """The addresses of CPUID in one file, before the file is moved to where it is loaded.

    The two bytes may also stand inside of another instruction; so each function that has them is
    decoded from its beginning. Functions are those that exceptions are unwound through.
    """
    try:
        from elftools.elf.constants import P_FLAGS
        from elftools.elf.elffile import ELFFile
    except ImportError:
        raise MissingToolError("pyelftools is not installed", _INSTALL) from None
    with path.open("rb") as file:
        elf = ELFFile(file)
        if elf["e_machine"] != "EM_X86_64":
            return []
        segments = [
            (segment["p_vaddr"], segment.data())
            for segment in elf.iter_segments("PT_LOAD")
            if segment["p_flags"] & P_FLAGS.PF_X
        ]
        if not any(_CPUID in code for _, code in segments):
            return []
        starts = _functions(elf)
    found: list[int] = []
    for base, code in segments:
        candidates = _candidates(base, code)
        for begin, of_one in groupby(candidates, lambda at: starts[bisect_right(starts, at) - 1]):
            found += _instructions(code, base, begin, set(of_one))
    return found


def _candidates(base: int, code: bytes) -> Iterator[int]:
    at = code.find(_CPUID)
    while at >= 0:
        yield base + at
        at = code.find(_CPUID, at + 1)


def _functions(elf: "ELFFile") -> list[int]:
    """Where functions begin, in order; at 0 what stands before the first."""
    for segment in elf.iter_segments("PT_GNU_EH_FRAME"):
        table, base = segment.data(), segment["p_vaddr"]
        if table[:4] == _ENCODINGS:
            (count,) = struct.unpack_from("<I", table, 8)
            return [0, *sorted(base + begin for begin, _ in _pairs(table, count))]
    return [0]


def _pairs(table: bytes, count: int) -> Iterator[tuple[int, int]]:
    return struct.iter_unpack("<ii", table[12 : 12 + 8 * count])


def _instructions(code: bytes, base: int, begin: int, candidates: set[int]) -> list[int]:
    """Which of the candidates, all of them in the function that begins there, are instructions."""
    try:
        import capstone
    except ImportError:
        raise MissingToolError("capstone is not installed", _INSTALL) from None
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    first, last = max(begin, base) - base, max(candidates) - base + len(_CPUID)
    decoded = decoder.disasm_lite(code[first:last], base + first)
    return [at for at, _, name, _ in decoded if name == "cpuid" and at in candidates]

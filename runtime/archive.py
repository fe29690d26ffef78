"""Tar archives as EdgeKiln writes them, and a reader that takes those only.

The format is POSIX.1-1988's ustar, in its plainest form: regular files, octal numbers, no
extension of any kind. A reader of that needs no recovery, so it can insist on every byte.
"""

import re
import tarfile
from collections.abc import Mapping, Set
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from edgekiln.runtime.errors import BundleError
from edgekiln.runtime.files import EXECUTABLE_MODE, FILE_MODE
from edgekiln.runtime.manifest import REBUILD_HINT

_BLOCK = 512  # the unit of the format; two zero blocks end an archive
_RECORD = 20 * _BLOCK  # zeros fill an archive up to whole records
_MAGIC = b"ustar\x0000"
_REGULAR = b"0"
# Offset and length of a header's fields: pax(1), "ustar Interchange Format".
_NAME, _MODE, _SIZE, _SUM, _TYPE, _LINK, _MARK, _PREFIX = (
    slice(start, start + length)
    for start, length in (
        (0, 100),
        (100, 8),
        (124, 12),
        (148, 8),
        (156, 1),
        (157, 100),
        (257, 8),
        (345, 155),
    )
)
_OCTAL = re.compile(rb"[0-7]+[ \0]*")


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file of an archive."""

    content: bytes
    executable: bool


def write_members(
    stream: BinaryIO, files: Mapping[str, bytes | Path], executable: Set[str]
) -> None:
    """Write `files` (name → content, or the file to copy) so that equal contents give equal bytes.

    Names are sorted; times, owners and modes are fixed; nothing is compressed.
    """
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            source = files[name]
            content = source if isinstance(source, bytes) else source.read_bytes()
            member = tarfile.TarInfo(name)  # mtime, uid, gid 0 and no owner names
            member.size = len(content)
            member.mode = EXECUTABLE_MODE if name in executable else FILE_MODE
            tar.addfile(member, BytesIO(content))


def read_members(raw: bytes, where: str) -> dict[str, Member]:
    """Name → file, of an archive that `write_members` made.

    Raises:
        BundleError: truncated, damaged, or with links, devices, extensions of the format or paths
            that lead outside; the message begins with `where`.
    """
    members: dict[str, Member] = {}
    position = 0
    while any(header := raw[position : position + _BLOCK]):
        name, size, executable = _read_header(header, where, position)
        _check_name(name, members, where)
        start = position + _BLOCK
        # Contents are filled up with zeros to whole blocks.
        position = start + -(-size // _BLOCK) * _BLOCK
        if position > len(raw) or any(raw[start + size : position]):
            raise _damaged(where, start, f"{name!r} has not its {size} bytes")
        members[name] = Member(content=raw[start : start + size], executable=executable)
    end = -(-(position + 2 * _BLOCK) // _RECORD) * _RECORD
    if len(raw) != end or any(raw[position:]):
        raise BundleError(
            f"{where}: truncated or damaged after {position} of {len(raw)} bytes", REBUILD_HINT
        )
    return members


def _read_header(header: bytes, where: str, position: int) -> tuple[str, int, bool]:
    """Name, size, and whether the file is executable."""
    if len(header) < _BLOCK or header[_MARK] != _MAGIC:
        raise _damaged(where, position, "no ustar header")
    # The sum of all bytes of the header, its own field taken for blanks.
    blank = header[: _SUM.start] + b" " * 8 + header[_SUM.stop :]
    if header[_SUM] != b"%06o\0 " % sum(blank):
        raise _damaged(where, position, "the header's checksum differs")
    name, prefix = (_text(header[field], where, position) for field in (_NAME, _PREFIX))
    path = f"{prefix}/{name}" if prefix else name
    if header[_TYPE] != _REGULAR or any(header[_LINK]):
        raise BundleError(
            f"{where}: member {path!r} is not a plain file", "EdgeKiln writes no such files"
        )
    mode = _octal(header[_MODE], where, position)
    return path, _octal(header[_SIZE], where, position), bool(mode & 0o100)


def _octal(field: bytes, where: str, position: int) -> int:
    """GNU's base-256 numbers, which may be negative or without bound, are no octal ones."""
    if not _OCTAL.fullmatch(field):
        raise _damaged(where, position, f"{field!r} is no octal number")
    return int(field.rstrip(b" \0"), 8)


def _text(field: bytes, where: str, position: int) -> str:
    text, _, rest = field.partition(b"\0")
    try:
        if not any(rest):
            return text.decode()
    except UnicodeDecodeError:
        pass
    raise _damaged(where, position, f"{field.rstrip(bytes(1))!r} is no name")


def _check_name(name: str, seen: Mapping[str, object], where: str) -> None:
    path = PurePosixPath(name)
    problem = None
    if path.is_absolute() or ".." in path.parts or str(path) != name or path.name == "":
        problem = "leads outside or is not in normal form"
    elif name in seen or any(str(parent) in seen for parent in path.parents):
        problem = "stands there twice"
    if problem:
        raise BundleError(
            f"{where}: member {name!r} {problem}", hint="EdgeKiln writes no such files"
        )


def _damaged(where: str, position: int, reason: str) -> BundleError:
    return BundleError(f"{where}: not a whole tar: {reason}, at byte {position}", REBUILD_HINT)

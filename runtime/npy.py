"""NumPy's files, `.npy` and `.npz`, read without trust.

`numpy.load` believes what a file says of itself: of a header it evaluates, of sizes it allocates.
Here the header is one of the few forms that numpy writes, and sizes are compared with the bytes
that are there, and with a limit, before memory is taken. The format: numpy.lib.format,
versions 1.0 to 3.0.
"""

import ast
import math
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.errors import InputError
from edgekiln.runtime.limits import INPUTS, Limit, opened, read_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1 << 16
_MAX_AXES = 32  # of an array, in every numpy
_DTYPE = re.compile(r"[<>|=][biuf](1|2|4|8)")  # plain numbers: no strings, records or objects
_TEXT = re.compile(r"[<>]U[1-9]\d{0,5}|\|S[1-9]\d{0,5}")
_SAVE_HINT = {".npy": "save it with np.save", ".npz": "save it with np.savez"}


def read_npy(path: Path, limit: Limit = INPUTS) -> "NDArray[np.generic]":
    """The array of a `.npy` file.

    Raises:
        InputError: not such a file, of another type than plain numbers, damaged, or too large.
    """
    hint = _SAVE_HINT[".npy"]
    raw = read_file(path, limit, hint)
    if raw[:4] == b"PK\x03\x04":
        raise InputError(f"{path}: holds several arrays", hint="name it .npz")
    try:
        return parse_npy(raw)
    except ValueError as error:
        raise InputError(f"{path}: not a NumPy array: {error}", hint=hint) from error


def read_npz(path: Path, name: str, limit: Limit = INPUTS) -> "NDArray[np.generic]":
    """The array `name` of a `.npz` file, or its only one.

    Raises:
        InputError: not such a file, damaged, without that array, or with a larger one than allowed.
    """
    with _archive(path, limit) as archive:
        members = _members(archive)
        names = [*members]
        chosen = name if name in members else names[0] if len(names) == 1 else None
        if chosen is None:
            raise InputError(
                f"{path}: has no array named {name!r}",
                hint=f"its arrays are: {', '.join(names) or 'none'}",
            )
        limit.check(members[chosen].file_size, f"{path}: {name}")
        return _array(archive, members[chosen], path)


def read_archive(path: Path, limit: Limit) -> "dict[str, NDArray[np.generic]]":
    """All arrays of a `.npz` file by name, those of text too.

    Raises:
        InputError: not such a file, damaged, of other types than plain numbers and text, or
            together larger than allowed; the message names the array.
    """
    with _archive(path, limit) as archive:
        members = _members(archive)
        size = sum(member.file_size for member in members.values())
        limit.check(size, str(path), "save fewer samples")
        return {name: _array(archive, member, path, text=True) for name, member in members.items()}


def names_in(path: Path, limit: Limit) -> list[str]:
    """The names of the arrays of a `.npz` file. Raises InputError: not such a file, or damaged."""
    with _archive(path, limit) as archive:
        return [*_members(archive)]


@contextmanager
def _archive(path: Path, limit: Limit) -> Iterator[zipfile.ZipFile]:
    hint = _SAVE_HINT[".npz"]
    with opened(path, limit, hint) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                yield archive
        except InputError:
            raise
        # Damaged bytes lead zipfile to exceptions of a dozen unrelated classes.
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise InputError(
                f"{path}: not an archive of NumPy arrays: {reason}", hint=hint
            ) from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """An archive's arrays by name."""
    return {
        each.filename.removesuffix(".npy"): each
        for each in archive.infolist()
        if each.filename.endswith(".npy")
    }


def _array(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, *, text: bool = False
) -> "NDArray[np.generic]":
    """An array of an archive; no more than the size it states is unpacked."""
    try:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it is compressed as NumPy compresses nothing")
        return parse_npy(archive.read(member), text=text)
    # Damaged bytes lead zlib and zipfile to exceptions of a dozen unrelated classes.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise InputError(
            f"{path}: {member.filename}: not a NumPy array: {reason}", hint=_SAVE_HINT[".npz"]
        ) from error


def parse_npy(raw: bytes, *, text: bool = False) -> "NDArray[np.generic]":
    """The array of a `.npy` file's bytes; it owns its memory. Raises ValueError with the reason.

    Args:
        raw: the whole file.
        text: an array of strings is welcome, too.
    """
    header, start = _header(raw)
    try:
        described = ast.literal_eval(header.strip())
    # Of ast.literal_eval's documentation: any of these, by the input.
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError("its header is no dictionary") from error
    if not isinstance(described, dict) or described.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError("its header has not the keys descr, fortran_order, shape")
    dtype, shape = _dtype(described["descr"], text=text), _shape(described["shape"])
    if not isinstance(described["fortran_order"], bool):
        raise ValueError("fortran_order is neither True nor False")
    count = math.prod(shape)
    if count * dtype.itemsize != len(raw) - start:
        raise ValueError(
            f"{dtype} {shape} takes {count * dtype.itemsize} bytes, {len(raw) - start} are there"
        )
    flat = np.frombuffer(raw, dtype, count, start).astype(dtype.newbyteorder("="))
    if described["fortran_order"]:
        return flat.reshape(shape[::-1]).transpose()
    return flat.reshape(shape)


def _header(raw: bytes) -> tuple[str, int]:
    """Its text, and where the data begin."""
    if raw[: len(MAGIC)] != MAGIC:
        raise ValueError("it does not begin as one" if raw else "it is empty")
    version = raw[len(MAGIC) : len(MAGIC) + 2]
    width = {b"\1\0": 2, b"\2\0": 4, b"\3\0": 4}.get(version)
    if width is None:
        raise ValueError("its version is none of 1.0, 2.0 and 3.0")
    begin = len(MAGIC) + 2 + width
    length = int.from_bytes(raw[begin - width : begin], "little")
    if length > _MAX_HEADER or begin + length > len(raw):
        raise ValueError(f"a header of {length} bytes is not there")
    encoding = "utf-8" if version == b"\3\0" else "latin1"
    return raw[begin : begin + length].decode(encoding), begin + length


def _dtype(described: object, *, text: bool) -> "np.dtype[np.generic]":
    if isinstance(described, str) and described in ("|O", "O"):
        raise ValueError("it holds Python objects, which could run any program when loaded")
    if text and isinstance(described, str) and _TEXT.fullmatch(described):
        return np.dtype(described)
    known = isinstance(described, str) and _DTYPE.fullmatch(described)
    if not known or (known.group()[1] == "b") != (described in ("|b1", "b1")):
        raise ValueError(f"its type {described!r} is no plain number")
    if known.group()[1:] == "f1":
        raise ValueError(f"its type {described!r} is no plain number")
    return np.dtype(known.group())


def _shape(described: object) -> tuple[int, ...]:
    if not isinstance(described, tuple) or len(described) > _MAX_AXES:
        raise ValueError("its shape is no tuple of extents")
    if not all(type(extent) is int and 0 <= extent < 1 << 48 for extent in described):
        raise ValueError(f"its shape {described!r} holds what is no extent"[:200])
    return described

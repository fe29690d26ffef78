"""Flatbuffers: the tables of a file, read where they lie, with every offset checked.

A table begins with the distance to its vtable, a list of distances from the table's start to its
fields; 0 there is a field that was left out. Vectors, strings and other tables are reached by
distances, too. Whoever wrote a file may have written any distance, so each is held against the
file's length, and a file that shows the same bytes again and again ends by a limit.
Source: https://flatbuffers.dev/internals
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Scalar = Literal["bool", "i8", "u8", "i16", "i32", "u32", "i64", "u64", "f32"]
SCALARS: tuple[str, ...] = get_args(Scalar)
_DTYPES: Mapping[str, str] = {
    "bool": "?", "i8": "<i1", "u8": "<u1", "i16": "<i2", "i32": "<i4", "u32": "<u4",
    "i64": "<i8", "u64": "<u8", "f32": "<f4",
}  # fmt: skip
# Honest files show a byte a few times: vectors that tables share.
_TIMES_READ = 16
_SPARE = 1 << 16


class NoTablesError(ValueError):
    """The bytes are no tables of the schema."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field of a table: its slot in the vtable and its type.

    `kind` is a scalar's name, "text", "table", or one of these in brackets for a vector.
    """

    slot: int
    kind: str
    default: float = 0  # of a scalar that was left out


Fields = Mapping[str, Field]


@dataclass
class FileBytes:
    """A file's bytes, and how many may still be read."""

    data: bytes
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = _TIMES_READ * len(self.data) + _SPARE

    def scalar(self, at: int, kind: str) -> int | float:
        """The number at a place. Raises NoTablesError outside of the file."""
        dtype = _DTYPES[kind]
        self._take(at, np.dtype(dtype).itemsize)
        value: int | float = struct.unpack_from(f"<{_CODES[kind]}", self.data, at)[0]
        return value

    def place(self, at: int) -> int:
        """Where the distance that is stored at a place leads."""
        return at + int(self.scalar(at, "u32"))

    def array(self, at: int, count: int, kind: str) -> NDArray[np.generic]:
        """A view of numbers, which are not copied."""
        dtype = np.dtype(_DTYPES[kind])
        self._inside(at, count * dtype.itemsize)
        return np.frombuffer(self.data, dtype, count, at)

    def _take(self, at: int, size: int) -> None:
        self._inside(at, size)
        self.left -= size
        if self.left < 0:
            raise NoTablesError("its parts overlap")

    def _inside(self, at: int, size: int) -> None:
        if at < 0 or size < 0 or at + size > len(self.data):
            raise NoTablesError("it points outside of itself, or was cut short")

    def taken(self, count: int) -> None:
        """Count the elements of a vector that somebody goes through, whatever they are."""
        self._take(0, 0)
        self.left -= 4 * count
        if self.left < 0:
            raise NoTablesError("its parts overlap")


_CODES: Mapping[str, str] = {
    "bool": "?", "i8": "b", "u8": "B", "i16": "h", "i32": "i", "u32": "I", "i64": "q",
    "u64": "Q", "f32": "f",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FileTable:
    """One table of a file. Its getters raise NoTablesError where the bytes are none."""

    buffer: FileBytes
    at: int
    fields: Fields

    def _find(self, name: str, kind: str) -> int:
        """Where a field lies; 0 if it was left out."""
        known = self.fields[name]
        assert known.kind == kind, f"{name} is {known.kind}, not {kind}"
        # A signed distance, subtracted: a shared vtable lies before its table or behind it.
        vtable = self.at - int(self.buffer.scalar(self.at, "i32"))
        if vtable < 0:
            raise NoTablesError("it points outside of itself, or was cut short")
        # Its own size and the table's come first, 16 bits each.
        place = 4 + 2 * known.slot
        # Builders leave out absent fields at the end, and older schemas end before this one.
        if place + 2 > self._u16(vtable):
            return 0
        offset = self._u16(vtable + place)
        return self.at + offset if offset else 0

    def _u16(self, at: int) -> int:
        low, high = int(self.buffer.scalar(at, "u8")), int(self.buffer.scalar(at + 1, "u8"))
        return low | high << 8

    def integer(self, name: str) -> int:
        """A field that is an integer or a truth value."""
        known = self.fields[name]
        at = self._find(name, known.kind)
        return int(self.buffer.scalar(at, known.kind) if at else known.default)

    def real(self, name: str) -> float:
        """A field that is a float."""
        at = self._find(name, "f32")
        return float(self.buffer.scalar(at, "f32")) if at else float(self.fields[name].default)

    def text(self, name: str) -> str:
        """A string; "" if it was left out. What is no UTF-8 is written as escapes."""
        at, count = self._vector(name, "text")
        raw = self.buffer.array(at, count, "u8").tobytes()
        self.buffer.taken(count)
        return raw.decode(errors="backslashreplace")

    def array(self, name: str) -> NDArray[np.generic] | None:
        """A vector of numbers as a view; None if it was left out."""
        kind = self.fields[name].kind
        at, count = self._vector(name, kind)
        return self.buffer.array(at, count, kind.strip("[]")) if at else None

    def integers(self, name: str) -> tuple[int, ...]:
        """A vector of integers; () if it was left out."""
        found = self.array(name)
        if found is None:
            return ()
        self.buffer.taken(found.size)
        return tuple(int(each) for each in found.tolist())

    def reals(self, name: str) -> tuple[float, ...]:
        """A vector of floats; () if it was left out."""
        found = self.array(name)
        if found is None:
            return ()
        self.buffer.taken(found.size)
        return tuple(float(each) for each in found.tolist())

    def table(self, name: str, fields: Fields) -> "FileTable | None":
        """Another table; None if it was left out."""
        at = self._find(name, "table")
        return (
            FileTable(buffer=self.buffer, at=self.buffer.place(at), fields=fields) if at else None
        )

    def tables(self, name: str, fields: Fields) -> "list[FileTable]":
        """A vector of tables; none if it was left out."""
        at, count = self._vector(name, "[table]")
        # Held against the file's length before a list of `count` places is made.
        self.buffer.array(at, count, "u32")
        self.buffer.taken(count)
        places = [at + 4 * index for index in range(count)]
        return [
            FileTable(buffer=self.buffer, at=self.buffer.place(each), fields=fields)
            for each in places
        ]

    def _vector(self, name: str, kind: str) -> tuple[int, int]:
        """Where a vector's elements begin, and how many there are; (0, 0) if it was left out."""
        at = self._find(name, kind)
        if not at:
            return 0, 0
        start = self.buffer.place(at)
        return start + 4, int(self.buffer.scalar(start, "u32"))


def root(data: bytes, fields: Fields, identifier: bytes) -> FileTable:
    """The table that a file holds. Raises NoTablesError when it is of another kind."""
    if len(data) < 8 or data[4:8] != identifier:
        raise NoTablesError(f"it does not have {identifier.decode()!r} at its fifth byte")
    buffer = FileBytes(data)
    return FileTable(buffer=buffer, at=buffer.place(0), fields=fields)

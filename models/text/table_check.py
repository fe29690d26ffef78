"""Whether tables of a tokenizer are whole: code in C reads them without looking."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.text.table_format import (
    BLOCK,
    FIELDS,
    LAST,
    LEAST_LENGTH,
    MAGIC,
    MOST_BYTES,
    MOST_CHARS,
    MOST_LENGTH,
    MOST_SPECIALS,
    fields_of,
)  # fmt: skip

_OFFSETS = (
    "specials", "anchors", "deltas", "ids", "strings", "chapters", "pages", "properties",
    "characters",
)  # fmt: skip


def fault_of(tables: NDArray[np.uint8]) -> str:
    """What is wrong with tables; "" if nothing leads out of them."""
    if tables.ndim != 1 or tables.size < 4 * len(FIELDS):
        return "its tables are cut short"
    return next(_faults(TableReader(tables, fields_of(tables))), "")


class OutsideError(Exception):
    """An array does not lie inside of the tables."""


class TableReader:
    """The arrays of tables, each looked at before it is given away."""

    def __init__(self, tables: NDArray[np.uint8], about: dict[str, int]) -> None:
        self.about = about
        self._raw = tables.tobytes()
        self.size = len(self._raw)

    def array(self, dtype: str, name: str, count: int) -> NDArray[np.int64]:
        offset = self.about[name]
        if offset % 4 or offset + count * np.dtype(dtype).itemsize > self.size:
            raise OutsideError(name)
        return np.frombuffer(self._raw, dtype, count, offset).astype(np.int64)

    def is_text(self, start: int, length: int) -> bool:
        try:
            self._raw[start : start + length].decode()
        except UnicodeDecodeError:
            return False
        return True


def header_faults(about: Mapping[str, int], limits: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    """The fields of a header that lie outside of their limits, both ends included."""
    for name, (low, high) in limits.items():
        if not low <= about[name] <= high:
            yield f"its tables have {about[name]} as {name}"
    if about["id_bytes"] not in (4, 8):
        yield f"its tables have numbers of {about['id_bytes']} bytes"


def _faults(reader: TableReader) -> Iterator[str]:
    about = reader.about
    limits = {
        "magic": (MAGIC, MAGIC), "text_bytes": (1, MOST_BYTES),
        "length": (LEAST_LENGTH, MOST_LENGTH), "most_chars": (1, MOST_CHARS),
        "special_count": (0, MOST_SPECIALS), "first_count": (0, about["count"]),
        "wide_ids": (0, 1), "hangul": (0, 1),
    }  # fmt: skip
    yield from header_faults(about, limits)
    try:
        yield from _strings(reader)
        yield from _characters(reader)
    except OutsideError as outside:
        yield f"its tables do not hold their {outside}"


def _strings(reader: TableReader) -> Iterator[str]:
    about, count = reader.about, reader.about["count"]
    entries = reader.array("<u4", "specials", 3 * about["special_count"]).reshape(-1, 3)
    if (entries[:, 1] < 1).any() or (entries[:, 1] + entries[:, 2] > reader.size).any():
        yield "its special tokens lie outside"
    anchors = reader.array("<u4", "anchors", count // BLOCK + 1)
    deltas = reader.array("<u2", "deltas", count + 1)
    reader.array("<u4" if about["wide_ids"] else "<u2", "ids", count)
    places = np.repeat(anchors, BLOCK)[: count + 1] + deltas
    if (np.diff(places) < 0).any() or about["strings"] + places.max() > reader.size:
        yield "its tokens lie outside"
    spans = [(places[:-1] + about["strings"], np.diff(places)), (entries[:, 2], entries[:, 1])]
    for starts, lengths in spans:
        if not all(map(reader.is_text, starts.tolist(), lengths.tolist())):
            yield "its tokens are no UTF-8"


def _characters(reader: TableReader) -> Iterator[str]:
    chapters = reader.array("u1", "chapters", (LAST + 1) // BLOCK**2)
    pages = reader.array("u1", "pages", (int(chapters.max()) + 1) * BLOCK)
    properties = reader.array("<u2", "properties", (int(pages.max()) + 1) * BLOCK)
    ends = (properties >> 2) + (properties & 3)
    reader.array("<u4", "characters", int(ends.max()))
    for name in _OFFSETS:
        if reader.about[name] < 4 * len(FIELDS):
            yield f"its {name} lie in the header"

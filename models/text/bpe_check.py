"""Whether tables of a byte-level BPE tokenizer are whole: code in C reads them without looking."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.text.bpe_format import (
    FIELDS,
    LEAST_LENGTH,
    MAGIC,
    MOST_BYTES,
    MOST_SPECIALS,
    MOST_TOKENS,
    NONE,
    fields_of,
)
from edgekiln.models.text.table_check import OutsideError, TableReader, header_faults
from edgekiln.models.text.table_format import MOST_LENGTH

_OFFSETS = ("specials", "bytes", "firsts", "rights", "ranks", "made", "bounds")


def bpe_fault_of(tables: NDArray[np.uint8]) -> str:
    """What is wrong with tables; "" if nothing leads out of them."""
    if tables.ndim != 1 or tables.size < 4 * len(FIELDS):
        return "its tables are cut short"
    return next(_faults(TableReader(tables, fields_of(tables))), "")


def _faults(reader: TableReader) -> Iterator[str]:
    about = reader.about
    limits = {
        "magic": (MAGIC, MAGIC), "text_bytes": (1, MOST_BYTES),
        "length": (LEAST_LENGTH, MOST_LENGTH),
        "special_count": (0, MOST_SPECIALS), "token_count": (1, MOST_TOKENS), "wide": (0, 1),
        "bound_count": (0, 1 << 16), "pad": (0, MOST_TOKENS),
    }  # fmt: skip
    yield from header_faults(about, limits)
    for name in ("before", "after"):
        if about[name] != NONE and about[name] > MOST_TOKENS:
            yield f"its tables have {about[name]} as {name}"
    for name in _OFFSETS:
        if about[name] < 4 * len(FIELDS):
            yield f"its {name} lie in the header"
    try:
        yield from _merges(reader)
        yield from _specials(reader)
    except OutsideError as outside:
        yield f"its tables do not hold their {outside}"


def _merges(reader: TableReader) -> Iterator[str]:
    about, kind = reader.about, "<u4" if reader.about["wide"] else "<u2"
    tokens = about["token_count"]
    firsts = reader.array("<u4", "firsts", tokens + 1)
    if firsts[0] or (np.diff(firsts) < 0).any():
        yield "its merges are in no order"
    count = int(firsts[-1])
    reader.array(kind, "ranks", count)
    reader.array(kind, "rights", count)
    for name, numbers in (
        ("bytes", reader.array(kind, "bytes", 256)), ("merges", reader.array(kind, "made", count))
    ):  # fmt: skip
        if (numbers >= tokens).any():
            yield f"its {name} make tokens that there are not"
    bounds = reader.array("<u4", "bounds", about["bound_count"])
    if (np.diff(bounds >> 2) <= 0).any():
        yield "its classes of characters are in no order"


def _specials(reader: TableReader) -> Iterator[str]:
    entries = reader.array("<u4", "specials", 4 * reader.about["special_count"]).reshape(-1, 4)
    if (entries[:, 1] < 1).any() or (entries[:, 1] + entries[:, 2] > reader.size).any():
        yield "its special tokens lie outside"
    if not all(map(reader.is_text, entries[:, 2].tolist(), entries[:, 1].tolist())):
        yield "its tokens are no UTF-8"
    if (entries[:, 0] > MOST_TOKENS).any():
        yield "its special tokens have numbers beyond all"

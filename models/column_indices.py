"""Columns of a table as indices: the bucket of a number between edges, the hash of a whole number.

`buckets=age:0,18,35;income:1e3,5e4` and `hash=user:1000`, behind a data set and before a network:
here are the numbers of data sets, and programs compute the same ones, bit by bit.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.runtime.typed import whole_number

if TYPE_CHECKING:
    from edgekiln.runtime.errors import ConfigError

BUCKETS, HASH = KINDS = "buckets", "hash"
MOST_EDGES = 4096
MOST_INDICES = (1 << 31) - 1
_USUAL = {BUCKETS: "age:0,18,35,60;income:1000,50000", HASH: "user:1000;item:50000"}

# Says what is wrong, and what to write.
Refusal = Callable[[str, str], "ConfigError"]


def edges_of(text: str, refused: Refusal) -> dict[str, NDArray[np.float32]]:
    """Column → its edges, ascending. Raises what `refused` makes: they are no such numbers."""
    found = {}
    for name, value in _columns(BUCKETS, text, refused).items():
        try:
            numbers = [float(part) for part in value.split(",")]
        except ValueError:
            numbers = []
        with np.errstate(over="ignore"):
            edges = np.array(numbers, np.float32)
        if not 0 < len(edges) <= MOST_EDGES or not np.isfinite(edges).all():
            raise refused(
                f"edges {value!r} of {name!r} do not fit",
                f"give 1 to {MOST_EDGES} finite numbers: {name}:0,18,35,60",
            )
        if not (edges[1:] > edges[:-1]).all():
            raise refused(
                f"edges {value} of {name!r} do not ascend",
                "give each once, the smallest first; they are float32",
            )
        found[name] = edges
    return found


def counts_of(text: str, refused: Refusal) -> dict[str, int]:
    """Column → below which number its hashes are. Raises what `refused` makes."""
    found = {}
    for name, value in _columns(HASH, text, refused).items():
        count = whole_number(value, MOST_INDICES)
        if not count:
            raise refused(
                f"{value!r} of {name!r} is no number of indices",
                f"give a whole number from 1 to {MOST_INDICES}: {name}:1000",
            )
        found[name] = count
    return found


def _columns(key: str, text: str, refused: Refusal) -> Mapping[str, str]:
    """ "a:1;b:2" → {"a": "1", "b": "2"}; a name may have colons."""
    found: dict[str, str] = {}
    for part in text.split(";"):
        name, colon, value = (each.strip() for each in part.rpartition(":"))
        if not (name and colon and value):
            raise refused(f"{part!r} names no column", f"write {key}={_USUAL[key]}")
        if name in found:
            raise refused(f"column {name!r} is given twice", "keep one of the two")
        found[name] = value
    return found


def bucket_indices(values: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many edges each value is not below: of a NaN all, so that it is in the last bucket."""
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def hash_indices(ids: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """MurmurHash3_x86_32 of seed 0 of each number's eight bytes, lowest first, modulo `count`.

    Source: Austin Appleby's MurmurHash3.cpp, in the public domain.
    """
    bits = ids.astype(np.int64).view(np.uint64)
    words = bits & np.uint64(0xFFFFFFFF), bits >> np.uint64(32)
    h = np.zeros(ids.shape, np.uint32)
    # Sums and products of arrays wrap around.
    for word in words:
        k = _turned(word.astype(np.uint32) * np.uint32(MURMUR_C1), 15) * np.uint32(MURMUR_C2)
        h = _turned(h ^ k, 13) * np.uint32(MURMUR_M) + np.uint32(MURMUR_N)
    h = h ^ np.uint32(ids.itemsize)
    for shift, factor in MURMUR_MIX:
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    h = h ^ (h >> np.uint32(MURMUR_LAST))
    return (h % np.uint32(count)).astype(np.int64)


def _turned(x: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    return (x << np.uint32(bits)) | (x >> np.uint32(32 - bits))


MURMUR_C1, MURMUR_C2, MURMUR_M, MURMUR_N = 0xCC9E2D51, 0x1B873593, 5, 0xE6546B64
MURMUR_MIX, MURMUR_LAST = ((16, 0x85EBCA6B), (13, 0xC2B2AE35)), 16

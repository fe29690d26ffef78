"""A byte-level BPE tokenizer as one array of bytes: what `runtime/c/bpe.c` and `bpe_tokens` read.

header      a word of 32 bits for each field of `FIELDS`; offsets are from the beginning
specials    of each special token: its number, its bytes, where they lie, whether it takes spaces
bytes       the token of each byte; numbers here and below are of 16 or 32 bits
firsts      of each token the place of its first merge, words of 32 bits, and one more at the end
rights      of each merge, by its left token and then by this one: the token that is joined to it
ranks       which merge it is of all: of two, the lower one comes first
made        what it makes
bounds      of characters in their order: where another class begins, and which
"""

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.text.table_format import HEAD

MAGIC = 0x31455042  # "BPE1"
# In the order of `tables_t` in bpe.c.
FIELDS = (
    *HEAD, "before", "after", "pad", "special_count",
    "specials", "token_count", "wide", "bytes", "firsts", "rights", "ranks", "made", "bound_count",
    "bounds",
)  # fmt: skip
NONE = 0xFFFFFFFF
OTHER, LETTER, NUMBER, SPACE = range(4)
MOST_SPECIALS = 1024
MOST_TOKENS = 1 << 24
MOST_BYTES = 1 << 16  # of a text: a word takes time by the square of its length
LEAST_LENGTH = 3


def fields_of(made: NDArray[np.uint8]) -> dict[str, int]:
    """The header of tables."""
    words = np.frombuffer(made[: 4 * len(FIELDS)].tobytes(), "<u4")
    return dict(zip(FIELDS, words.tolist(), strict=True))

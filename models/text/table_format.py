"""A tokenizer as one array of bytes: what `runtime/c/wordpiece.c` and `tokens` read.

header      a word of 32 bits for each field of `FIELDS`; offsets are from the beginning
specials    of each special token: its number, its bytes, and where they lie
strings     tokens in the order of their bytes, those that begin a word first
anchors     of each 64th token the place of its string; of each token the distance from there
ids         the tokens' numbers, of 16 or 32 bits
chapters    of each 4096 characters: which pages
pages       of each 64 of them: which properties
properties  of each one: one of five fates, or where in `characters` it becomes what, and how many
"""

import numpy as np
from numpy.typing import NDArray

MAGIC = 0x31435057  # "WPC1"
HEAD = ("magic", "text_bytes", "length", "id_bytes")  # of every tokenizer
# In the order of `tables_t` in wordpiece.c.
FIELDS = (
    *HEAD, "cls", "sep", "pad", "unknown", "most_chars",
    "special_count", "specials", "first_count", "count", "anchors", "deltas", "ids", "strings",
    "wide_ids", "chapters", "pages", "properties", "characters", "hangul",
)  # fmt: skip
KEPT, LEFT_OUT, MARK, SPACE, ALONE = 0, 4, 8, 12, 16
ALONE_BIT, CLASS_BIT = 23, 24
BLOCK = 64  # tokens of an anchor, characters of a page, pages of a chapter
LAST = 0x10FFFF  # of Unicode's characters
MOST_CHARS = 100  # of a word that is looked up; longer ones are unknown
MOST_SPECIALS = 256
LEAST_LENGTH = 3  # the tokens around a text, and one of it
MOST_LENGTH = 1 << 16
MOST_BYTES = 1 << 24  # of a text


def fields_of(made: NDArray[np.uint8]) -> dict[str, int]:
    """The header of tables."""
    words = np.frombuffer(made[: 4 * len(FIELDS)].tobytes(), "<u4")
    return dict(zip(FIELDS, words.tolist(), strict=True))


def head_of(made: NDArray[np.uint8]) -> dict[str, int]:
    """What the header of every tokenizer's tables begins with."""
    words = np.frombuffer(made[: 4 * len(HEAD)].tobytes(), "<u4")
    return dict(zip(HEAD, words.tolist(), strict=True))

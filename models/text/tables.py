"""The tables of a tokenizer, made of a vocabulary and of Unicode; see `table_format`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.text.bert_unicode import Habits, Piece, Unicode, unicode
from edgekiln.models.text.table_content import TableContent
from edgekiln.models.text.table_format import (
    ALONE,
    ALONE_BIT,
    BLOCK,
    CLASS_BIT,
    FIELDS,
    KEPT,
    LAST,
    LEFT_OUT,
    MAGIC,
    MARK,
    SPACE,
)  # fmt: skip
from edgekiln.models.text.tokenizer_json import CONTINUED
from edgekiln.models.text.vocabulary import Vocabulary

_FATES = 8  # places in `characters` that are fates


def tables(
    vocabulary: Vocabulary, *, length: int, text_bytes: int, id_bytes: int
) -> NDArray[np.uint8]:
    """The tokenizer of texts of at most `text_bytes` that gives `length` numbers of `id_bytes`.

    Equal vocabularies give equal bytes.
    """
    known = unicode(vocabulary.habits)
    first, further = _tokens(vocabulary, known)
    content = TableContent(names=FIELDS)
    content.fields |= {
        "magic": MAGIC, "text_bytes": text_bytes, "length": length, "id_bytes": id_bytes,
        "cls": vocabulary.cls, "sep": vocabulary.sep, "pad": vocabulary.pad,
        "unknown": vocabulary.unknown, "most_chars": vocabulary.most_chars,
        "special_count": len(vocabulary.specials), "first_count": len(first),
        "count": len(first) + len(further), "hangul": int(known.hangul),
    }  # fmt: skip
    _add_specials(content, vocabulary.specials)
    _add_tokens(content, [*first, *further])
    for name, array in _of_unicode(vocabulary.habits).items():
        content.add(name, array)
    return content.array()


_Numbered = list[tuple[bytes, int]]


def _tokens(vocabulary: Vocabulary, known: Unicode) -> tuple[_Numbered, _Numbered]:
    """The tokens that begin a word, and those that go on with one, without the mark of that."""
    first: _Numbered = []
    further: _Numbered = []
    for token, number in vocabulary.tokens.items():
        goes_on = token.startswith(CONTINUED) and token != CONTINUED
        text = token.removeprefix(CONTINUED) if goes_on else token
        if len(text) > vocabulary.most_chars:
            continue  # no word that is looked up is so long
        if len(text) > 1 and any(_stands_alone(c, known) for c in text):
            continue  # no word has such a letter
        (further if goes_on else first).append((text.encode(), number))
    return sorted(first), sorted(further)


def _stands_alone(character: str, known: Unicode) -> bool:
    code = ord(character)
    return code in known.spaces or any(each.alone for each in known.pieces.get(code, ()))


def _add_specials(content: TableContent, specials: Mapping[str, int]) -> None:
    entries = [
        (number, len(name.encode()), content.add("", name.encode()))
        for name, number in specials.items()
    ]
    content.add("specials", np.array(entries, "<u4"))


def _add_tokens(content: TableContent, tokens: Sequence[tuple[bytes, int]]) -> None:
    lengths = [len(text) for text, _ in tokens]
    places = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    anchors = places[::BLOCK]
    content.add("strings", b"".join(text for text, _ in tokens))
    content.add("anchors", anchors.astype("<u4"))
    content.add("deltas", (places - np.repeat(anchors, BLOCK)[: len(places)]).astype("<u2"))
    numbers = np.array([number for _, number in tokens], np.int64)
    wide = bool(numbers.size and numbers.max() >= 1 << 16)
    content.add("ids", numbers.astype("<u4" if wide else "<u2"))
    content.fields["wide_ids"] = int(wide)


@cache
def _of_unicode(habits: Habits) -> Mapping[str, bytes]:
    """The arrays that say what becomes of each character."""
    known, characters = unicode(habits), _Characters()
    properties = np.full(LAST + 1, KEPT, "<u2")
    for codes, fate in ((known.left_out, LEFT_OUT), (known.starters, MARK), (known.spaces, SPACE)):
        properties[sorted(codes)] = fate
    for code, pieces in known.pieces.items():
        itself = pieces == (Piece(code_point=code, alone=True),)
        properties[code] = ALONE if itself else characters.place(pieces) << 2 | len(pieces)
    rows, pages = _shared(properties.tobytes(), 2 * BLOCK)
    shared, chapters = _shared(pages, BLOCK)
    words = np.array(characters.words, "<u4").tobytes()
    return {"properties": rows, "pages": shared, "chapters": chapters, "characters": words}


def _shared(values: bytes, size: int) -> tuple[bytes, bytes]:
    """Parts of `size` bytes, equal ones once, and which of them each part is."""
    known: dict[bytes, int] = {}
    parts = (values[at : at + size] for at in range(0, len(values), size))
    which = [known.setdefault(part, len(known)) for part in parts]
    return b"".join(known), bytes(which)  # at most 256, or this raises


@dataclass
class _Characters:
    """What characters become, equal sequences once."""

    words: list[int] = field(default_factory=lambda: [0] * _FATES)
    known: dict[tuple[Piece, ...], int] = field(default_factory=dict)

    def place(self, pieces: tuple[Piece, ...]) -> int:
        assert 0 < len(pieces) < 4, pieces
        if pieces not in self.known:
            self.known[pieces] = len(self.words)
            self.words += [
                each.code_point | each.alone << ALONE_BIT | each.order << CLASS_BIT
                for each in pieces
            ]
            assert len(self.words) < 1 << 14  # places have so many bits
        return self.known[pieces]

"""BERT's tokenizer in Python: what the C code computes, from the same tables, by other means."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.text.table_format import (
    ALONE,
    ALONE_BIT,
    BLOCK,
    CLASS_BIT,
    LEFT_OUT,
    MARK,
    SPACE,
    fields_of,
)
from edgekiln.models.text.token_rows import ids_dtype, token_rows

_MOST_REMEMBERED = 1 << 15  # words, whose tokens are not looked for again
_CODE_POINT = (1 << 21) - 1
_HANGUL, _SYLLABLES, _SHARED, _TAILS = 0xAC00, 11172, 588, 28


@dataclass
class _Words:
    """The words of a piece of text so far, each a list of characters."""

    done: list[list[int]] = field(default_factory=list)
    word: list[tuple[int, int]] = field(default_factory=list)  # character, class
    run: int = 0  # where those begin that have no fixed order yet

    def add(self, piece: int) -> None:
        alone, order = piece >> ALONE_BIT & 1, piece >> CLASS_BIT
        if alone:
            self.end()
        self.word.append((piece & _CODE_POINT, order))
        if order:  # sorting is stable
            self.word[self.run :] = sorted(self.word[self.run :], key=lambda each: each[1])
        else:
            self.run = len(self.word)
        if alone:
            self.end()

    def end(self) -> None:
        if self.word:
            self.done.append([c for c, _ in self.word])
        self.word, self.run = [], 0


class Tokenizer:
    """Texts become rows of token numbers, and of 1 where a token is and 0 behind the last."""

    def __init__(self, tables: NDArray[np.uint8]) -> None:
        self._raw = tables.tobytes()
        self.fields = about = fields_of(tables)
        self.length = about["length"]
        self.dtype = ids_dtype(about)
        entries = self._array("<u4", about["specials"], 3 * about["special_count"]).reshape(-1, 3)
        self._specials = {
            self._raw[at : at + size].decode(): int(number) for number, size, at in entries
        }
        longest_first = sorted(self._specials, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)))
        self._first, self._further = self._tokens()
        self._tokens_of = lru_cache(_MOST_REMEMBERED)(self._found_in)

    def _array(self, dtype: str, offset: int, count: int) -> NDArray[np.unsignedinteger]:
        found: NDArray[np.unsignedinteger] = np.frombuffer(self._raw, dtype, count, offset)
        return found

    def _tokens(self) -> tuple[dict[str, int], dict[str, int]]:
        about, count = self.fields, self.fields["count"]
        anchors = self._array("<u4", about["anchors"], count // BLOCK + 1).astype(np.int64)
        deltas = self._array("<u2", about["deltas"], count + 1)
        places = np.repeat(anchors, BLOCK)[: count + 1] + deltas + about["strings"]
        strings = [self._raw[a:b].decode() for a, b in pairwise(places)]
        ids = self._array("<u4" if about["wide_ids"] else "<u2", about["ids"], count).tolist()
        split = about["first_count"]
        return (
            dict(zip(strings[:split], ids[:split], strict=True)),
            dict(zip(strings[split:], ids[split:], strict=True)),
        )

    def __call__(
        self, texts: "NDArray[np.uint8] | Sequence[bytes]"
    ) -> tuple[NDArray[np.signedinteger], NDArray[np.signedinteger]]:
        """See `token_rows`."""
        return token_rows(texts, self.numbers, self.fields)

    def numbers(self, text: bytes) -> list[int]:
        """The tokens of one text, with those around it."""
        found: list[int] = []
        for part in self._parts(text):
            if isinstance(part, int):
                found.append(part)
            else:
                # A space ends all that goes on from one character to the next.
                for between in part.split(" "):
                    found += self._tokens_of(between)
                    if len(found) > self.length:
                        break
        return [self.fields["cls"], *found[: self.length - 2], self.fields["sep"]]

    def _parts(self, text: bytes) -> Iterator[int | str]:
        """Special tokens' numbers, and the text between them."""
        plain = text.decode(errors="replace")
        start = 0
        for found in self._special.finditer(plain) if self._specials else ():
            yield plain[start : found.start()]
            yield self._specials[found[0]]
            start = found.end()
        yield plain[start:]

    def _found_in(self, text: str) -> list[int]:
        """The numbers of the tokens of text without special ones."""
        words = ("".join(map(chr, word)) for word in self._words(text))
        return [number for word in words for number in self._pieces(word)]

    def _words(self, text: str) -> list[list[int]]:
        words = _Words()
        for code in map(ord, text):
            for piece in self._pieces_of(code, words):
                words.add(piece)
        words.end()
        return words.done

    def _pieces_of(self, code: int, words: _Words) -> Sequence[int]:
        """What a character adds to a word, if it does not end it, or a run of marks."""
        fate = self._property(code)
        if fate == MARK:
            words.run = len(words.word)
        elif fate == SPACE:
            words.end()
        if fate in (LEFT_OUT, MARK, SPACE):
            return ()
        if fate == ALONE:
            return (code | 1 << ALONE_BIT,)
        if fate:
            at = self.fields["characters"] + (fate >> 2) * 4
            made: list[int] = self._array("<u4", at, fate & 3).tolist()
            return made
        return self._letters(code)

    def _letters(self, code: int) -> Sequence[int]:
        """The two or three of a syllable of Hangul, or the character itself."""
        syllable = code - _HANGUL
        if self.fields["hangul"] and 0 <= syllable < _SYLLABLES:
            tail = syllable % _TAILS
            letters = (0x1100 + syllable // _SHARED, 0x1161 + syllable % _SHARED // _TAILS)
            return (*letters, 0x11A7 + tail) if tail else letters
        return (code,)

    def _property(self, code: int) -> int:
        about, raw = self.fields, self._raw
        chapter = raw[about["chapters"] + code // BLOCK**2]
        page = raw[about["pages"] + chapter * BLOCK + code // BLOCK % BLOCK]
        place = about["properties"] + 2 * (page * BLOCK + code % BLOCK)
        return int.from_bytes(raw[place : place + 2], "little")

    def _pieces(self, word: str) -> list[int]:
        """The longest tokens, one after the other; the unknown one where that does not come out."""
        unknown = [self.fields["unknown"]]
        if len(word) > self.fields["most_chars"]:
            return unknown
        found, start = [], 0
        while start < len(word):
            known = self._further if start else self._first
            ends = range(len(word), start, -1)
            end = next((end for end in ends if word[start:end] in known), 0)
            if not end:
                return unknown
            found.append(known[word[start:end]])
            start = end
        return found

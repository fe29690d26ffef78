"""GPT-2's tokenizer in Python: what the C code computes, from the same tables, by other means."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.text.bpe_format import LETTER, NONE, NUMBER, SPACE, fields_of
from edgekiln.models.text.token_rows import ids_dtype, token_rows

_MOST_REMEMBERED = 1 << 15  # words, whose tokens are not looked for again
_ESCAPED = "surrogateescape"  # what is no UTF-8 goes through as characters that are none
# Each character as its class; those of endings, blanks and apostrophes as themselves.
_SIGNS = {LETTER: "L", NUMBER: "N", SPACE: "S"}
_THEMSELVES = " 'strevmld"
_WORD = re.compile(r"'(?:[stmd]|re|ve|ll)| ?[Lstrevmld]+| ?N+| ?[O']+|[S ]+(?![^S ])|[S ]+")


class BpeTokenizer:
    """Texts become rows of token numbers, and of 1 where a token is and 0 behind the last."""

    def __init__(self, tables: NDArray[np.uint8]) -> None:
        self._raw = tables.tobytes()
        self.fields = about = fields_of(tables)
        self.length = about["length"]
        self.dtype = ids_dtype(about)
        entries = self._array("<u4", "specials", 4 * about["special_count"]).reshape(-1, 4)
        self._specials = {
            self._raw[at : at + size].decode(): (number, bool(spaces))
            for number, size, at, spaces in entries.tolist()
        }
        longest_first = sorted(self._specials, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)))
        bounds = self._array("<u4", "bounds", about["bound_count"]).tolist()
        self._places = [bound >> 2 for bound in bounds]
        self._classes = [bound & 3 for bound in bounds]
        self._bytes = self._numbers("bytes", 256)
        self._merges = self._merge_table()
        self._tokens_of = lru_cache(_MOST_REMEMBERED)(self._merged)

    def _array(self, dtype: str, name: str, count: int) -> NDArray[np.unsignedinteger]:
        found: NDArray[np.unsignedinteger] = np.frombuffer(
            self._raw, dtype, count, self.fields[name]
        )
        return found

    def _numbers(self, name: str, count: int) -> list[int]:
        numbers: list[int] = self._array(
            "<u4" if self.fields["wide"] else "<u2", name, count
        ).tolist()
        return numbers

    def _merge_table(self) -> dict[tuple[int, int], tuple[int, int]]:
        """(left, right) → (rank, result)."""
        firsts = self._array("<u4", "firsts", self.fields["token_count"] + 1).astype(np.int64)
        lefts = np.repeat(np.arange(len(firsts) - 1), np.diff(firsts)).tolist()
        columns = (self._numbers(name, len(lefts)) for name in ("rights", "ranks", "made"))
        rows = zip(lefts, *columns, strict=True)
        return {(left, right): (rank, made) for left, right, rank, made in rows}

    def __call__(
        self, texts: "NDArray[np.uint8] | Sequence[bytes]"
    ) -> tuple[NDArray[np.signedinteger], NDArray[np.signedinteger]]:
        """See `token_rows`."""
        return token_rows(texts, self.numbers, self.fields)

    def numbers(self, text: bytes) -> list[int]:
        """The tokens of one text, with those around it."""
        before = [each for each in (self.fields["before"],) if each != NONE]
        after = [each for each in (self.fields["after"],) if each != NONE]
        room = self.length - len(after)
        found = before
        for number in self._found_in(text.decode(errors=_ESCAPED)):
            if len(found) >= room:
                break
            found.append(number)
        return [*found, *after]

    def _found_in(self, text: str) -> Iterator[int]:
        start = 0
        for found in self._special.finditer(text) if self._specials else ():
            number, takes_spaces = self._specials[found[0]]
            yield from self._plain(text[start : found.start()], takes_spaces)
            yield number
            start = found.end()
        yield from self._plain(text[start:], False)

    def _plain(self, text: str, without_end: bool) -> Iterator[int]:
        """The tokens of text without special ones, and perhaps without the spaces at its end."""
        signs = "".join(map(self._sign, text))
        if without_end:
            signs = signs.rstrip("S ")
        for word in _WORD.finditer(signs):
            part = text[word.start() : word.end()]
            yield from self._tokens_of(part.encode(errors=_ESCAPED))

    def _sign(self, character: str) -> str:
        if character in _THEMSELVES:
            return character
        place = bisect_right(self._places, ord(character))
        return _SIGNS.get(self._classes[place - 1], "O") if place else "O"

    def _merged(self, word: bytes) -> tuple[int, ...]:
        symbols = [self._bytes[byte] for byte in word]
        while len(symbols) > 1:
            pairs = list(pairwise(symbols))
            known = [pair for pair in pairs if pair in self._merges]
            if not known:
                break
            first = min(known, key=lambda pair: self._merges[pair][0])
            place = pairs.index(first)
            symbols[place : place + 2] = [self._merges[first][1]]
        return tuple(symbols)

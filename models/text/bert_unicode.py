"""Unicode as BERT's tokenizer sees it: what becomes of each character, by a table of facts.

The facts are those of Hugging Face's `tokenizers`, whose Unicode is no single version's, and so
they do not depend on the Python that builds.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_FACTS = "bert_unicode.txt"


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What of BERT's normalization is on; text is always cleaned."""

    lower: bool = True
    accents: bool = False  # whether they stay
    ideographs: bool = True  # whether each stands alone


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A character that a word is made of."""

    code_point: int
    alone: bool = False  # it is a word of its own
    order: int = 0  # its canonical combining class, if that matters


@dataclass(frozen=True, kw_only=True)
class Unicode:
    """What characters become, by code point; those that are in no table stay what they are.

    Args:
        left_out: characters that are not there.
        spaces: characters between words.
        starters: marks that are dropped, and end a run of marks that are put in order.
        pieces: what others become.
    """

    left_out: frozenset[int]
    spaces: frozenset[int]
    starters: frozenset[int]
    pieces: Mapping[int, tuple[Piece, ...]]
    hangul: bool  # syllables are taken apart


@cache
def unicode(habits: Habits) -> Unicode:
    """What becomes of all characters."""
    facts = _facts()
    left_out, spaces = _set(facts["left-out"]), _set(facts["space"])
    starters: set[int] = set()
    plain: Mapping[int, tuple[int, ...]] = {}
    ordered: Mapping[int, int] = {}
    if not habits.accents:
        left_out |= _set(facts["mark"])
        starters = _set(facts["starter"]) - left_out
        plain = dict(_sequences(facts["plain"]))
        ordered = {int(c, 16): int(number) for c, number in _pairs(facts["ordered"])}
    lower = dict(_sequences(facts["lower"])) if habits.lower else {}
    alone = _set(facts["alone"])
    ideographs = _set(facts["ideograph"]) if habits.ideographs else set()
    gone = left_out | spaces | starters
    special = {*plain, *ordered, *lower, *alone, *ideographs} - gone
    pieces = {}
    for c in sorted(special):
        made = [
            Piece(
                code_point=each, order=ordered.get(part, 0),
                alone=each in alone or c in ideographs,
            )
            for part in plain.get(c, (c,))
            for each in lower.get(part, (part,))
        ]  # fmt: skip
        pieces[c] = tuple(made)
    return Unicode(
        left_out=frozenset(left_out), spaces=frozenset(spaces), starters=frozenset(starters),
        pieces=pieces, hangul=not habits.accents,
    )  # fmt: skip


@cache
def _facts() -> Mapping[str, tuple[str, ...]]:
    """The words of the file, by their kind."""
    text = (files("edgekiln.models.text") / _FACTS).read_text(encoding="ascii")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        kind, *words = line.split()
        if kind != "#":
            found.setdefault(kind, []).extend(words)
    return {kind: tuple(words) for kind, words in found.items()}


def _set(ranges: Iterable[str]) -> set[int]:
    found: set[int] = set()
    for text in ranges:
        first, _, last = text.partition("-")
        found.update(range(int(first, 16), int(last or first, 16) + 1))
    return found


def _pairs(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        key, _, value = word.partition("=")
        yield key, value


def _sequences(words: Iterable[str]) -> Iterator[tuple[int, tuple[int, ...]]]:
    for key, value in _pairs(words):
        yield int(key, 16), tuple(int(each, 16) for each in value.split("+"))

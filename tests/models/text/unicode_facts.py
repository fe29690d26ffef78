"""What `tokenizers` does to each character of Unicode, asked one by one: `bert_unicode.txt`."""

import unicodedata
from collections.abc import Iterable, Iterator

HEAD = """\
# What Hugging Face's `tokenizers` {version} does to the characters of Unicode: BertNormalizer and
# BertPreTokenizer. Made by tests/models/text/test_unicode_table.py.
#
# A line is a kind, then characters in hexadecimal: ranges, or what each one becomes.
#   space       is a space        left-out  is dropped by clean_text
#   ideograph   stands alone      alone     is a word of its own: punctuation
#   mark        is dropped with accents     starter   likewise, and ends a run of marks
#   ordered     a mark that stays: its canonical combining class, decimal
#   plain       what it becomes without accents: letters joined by "+"
#   lower       in lower case
"""
_WIDTH = 100
_HANGUL = range(0xAC00, 0xD7A4)  # whose letters follow from a formula
_EARLY, _LATE = "\u302e", "\U0001d165"  # marks that stay, of classes 224 and 216


def text() -> str:
    """The whole file."""
    import tokenizers

    lines = [HEAD.format(version=tokenizers.__version__)]
    for kind, values in _facts():
        lines += wrapped(kind, values)
    return "".join(lines)


def characters() -> Iterator[str]:
    return (chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)


def _facts() -> Iterator[tuple[str, Iterable[str]]]:
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    off = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False}

    def changed(**on: bool) -> dict[str, str]:
        normalizer = BertNormalizer(**{**off, "lowercase": False, **on})
        # Between two letters: what stands at an end might be treated as an end.
        found = ((c, normalizer.normalize_str(f"a{c}b")[1:-1]) for c in characters())
        return {c: now for c, now in found if now != c}

    def parts(c: str) -> list[str]:
        return [part for part, _ in BertPreTokenizer().pre_tokenize_str(f"a{c}b")]

    cleaned, plain, lower = (
        changed(clean_text=True), changed(strip_accents=True), changed(lowercase=True)
    )  # fmt: skip
    spaces = {c for c, now in cleaned.items() if now == " "} | {" "}
    gone = {c for c, now in cleaned.items() if not now}
    assert {c for c in characters() if parts(c) == ["a", "b"]} <= spaces | gone
    yield "space", ranges(spaces)
    yield "left-out", ranges(gone)
    yield "ideograph", ranges(changed(handle_chinese_chars=True))
    yield "alone", ranges(c for c in characters() if parts(c) == ["a", c, "b"])
    strip = BertNormalizer(**{**off, "lowercase": False, "strip_accents": True}).normalize_str
    marks = {c for c, now in plain.items() if not now}
    # Of two marks that change places the one between them is no starter.
    within = {c for c in marks if strip(f"a{_EARLY}{c}{_LATE}") == f"a{_LATE}{_EARLY}"}
    yield "mark", ranges(within)
    yield "starter", ranges(marks - within)
    stays = [c for c in characters() if c not in plain]
    moving = [c for c in stays if {strip(f"a{_EARLY}{c}"), strip(f"a{c}{_LATE}")} & {
        f"a{c}{_EARLY}", f"a{_LATE}{c}"
    }]  # fmt: skip
    classes = {c: unicodedata.combining(c) for c in moving}
    for c in (_EARLY, _LATE):
        classes[c] = unicodedata.combining(c)
    yield "ordered", (f"{ord(c):x}={number}" for c, number in sorted(classes.items()))
    yield "plain", _pairs({c: now for c, now in plain.items() if now and ord(c) not in _HANGUL})
    yield "lower", _pairs(lower)


def _pairs(table: dict[str, str]) -> Iterator[str]:
    for c, now in sorted(table.items()):
        yield f"{ord(c):x}=" + "+".join(f"{ord(each):x}" for each in now)


def ranges(characters: Iterable[str]) -> Iterator[str]:
    numbers = sorted(map(ord, characters))
    start = 0
    for place, number in enumerate(numbers):
        if place + 1 == len(numbers) or numbers[place + 1] != number + 1:
            first = numbers[start]
            yield f"{first:x}" if first == number else f"{first:x}-{number:x}"
            start = place + 1


def wrapped(kind: str, values: Iterable[str]) -> Iterator[str]:
    line = kind
    for value in values:
        if len(line) + 1 + len(value) > _WIDTH:
            yield line + "\n"
            line = kind
        line += f" {value}"
    yield line + "\n"

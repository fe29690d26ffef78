"""Byte-level BPE vocabularies: GPT-2's vocab.json and merges.txt, and Hugging Face's
tokenizer.json.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from edgekiln.models.text.bpe_format import MOST_SPECIALS, MOST_TOKENS
from edgekiln.models.text.token_numbers import contradiction
from edgekiln.runtime.codec import loads
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.limits import INPUTS, read_file

_ONLY_BPE = (
    "give the vocab.json of a model of GPT-2's kind with its merges.txt beside it, or its "
    "tokenizer.json: BPE behind a ByteLevel pre-tokenizer"
)
_PADS = ("<pad>", "<|endoftext|>")
_FIXED = {
    "dropout": (None, 0, 0.0), "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""), "byte_fallback": (None, False),
    "ignore_merges": (None, False),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BpeSpecial:
    """A token that is taken as a whole where it stands in a text."""

    number: int
    takes_spaces: bool = False  # those before it


@dataclass(frozen=True, kw_only=True)
class BpeVocabulary:
    """Tokens by what they are called, the merges in their order, and what stands around a text."""

    tokens: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    specials: Mapping[str, BpeSpecial]
    pad: int | None = None
    before: int | None = None
    after: int | None = None


@cache
def byte_names() -> tuple[str, ...]:
    """What each byte is called in a vocabulary: GPT-2's `bytes_to_unicode`."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in plain)
    moved = {byte: 256 + place for place, byte in enumerate(others)}
    return tuple(chr(moved.get(byte, byte)) for byte in range(256))


def read_bpe(path: Path, merges: Path | None = None) -> BpeVocabulary:
    """Read a vocab.json, with its merges.txt, or a tokenizer.json.

    Raises:
        InputError: it cannot be read, or is of another kind of tokenizer.
    """
    whole = _json(path)
    try:
        if isinstance(whole.get("model"), dict):  # of a vocab.json "model" is a token
            _demand(merges is None, "has its merges inside: leave merges=… out")
            found = _checked(_of_tokenizer(whole))
            _demand(not (wrong := contradiction(whole, found.tokens)), wrong)
            return found
        beside = merges or merges_beside(path)
        return _checked(
            _of_parts(whole, _merges_of(_text(beside).replace("\r\n", "\n").split("\n")))
        )
    except _ForeignBpeError as error:
        raise InputError(f"{path}: {error}", _ONLY_BPE) from error


def is_byte_pair(path: Path) -> bool:
    """Whether a file is a vocab.json, or a tokenizer.json with a BPE model; not whether it can be
    used.
    """
    if path.suffix.lower() != ".json":
        return False
    model = _json(path).get("model")  # of a vocab.json a token
    return model.get("type") == "BPE" if isinstance(model, dict) else True


def merges_beside(path: Path) -> Path:
    """Where the merges of a vocab.json are looked for."""
    return path.with_name("merges.txt")


def around(path: Path, vocabulary: BpeVocabulary, names: Mapping[str, str]) -> BpeVocabulary:
    """The same with other tokens: `bos` before a text, `eos` behind it, and `pad`. Raises
    InputError: it has no such token.
    """
    numbers = {}
    for role, name in names.items():
        if name not in vocabulary.tokens and name not in vocabulary.specials:
            raise InputError(f"{path}: has no token {name!r}", f"give {role} another name")
        special = vocabulary.specials.get(name)
        numbers[role] = special.number if special else vocabulary.tokens[name]
    return replace(
        vocabulary, pad=numbers.get("pad", vocabulary.pad),
        before=numbers.get("bos", vocabulary.before), after=numbers.get("eos", vocabulary.after),
    )  # fmt: skip


class _ForeignBpeError(Exception):
    """It is of another kind, or damaged; the text says how."""


_Json = Mapping[str, object]


def _demand(holds: bool, what: str) -> None:
    if not holds:
        raise _ForeignBpeError(what)


def _text(path: Path) -> str:
    try:
        return read_file(path, INPUTS, hint=_ONLY_BPE).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text in UTF-8", _ONLY_BPE) from error


def _json(path: Path) -> _Json:
    try:
        whole = loads(_text(path))
    except ValueError as error:
        raise InputError(f"{path}: is no JSON: {error}", _ONLY_BPE) from error
    if not isinstance(whole, dict):
        raise InputError(f"{path}: is no vocabulary", _ONLY_BPE)
    return whole


def _part(whole: _Json, name: str) -> _Json:
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _numbers(entries: _Json) -> dict[str, int]:
    for token, number in entries.items():
        known = isinstance(number, int) and not isinstance(number, bool)
        _demand(known and 0 <= int(str(number)) < MOST_TOKENS, f"{token!r} has number {number}")
    return {token: int(str(number)) for token, number in entries.items()}


def _merges_of(lines: Sequence[object]) -> list[tuple[str, str]]:
    """Pairs, each a line with a blank between them, or a list of two."""
    found = []
    for place, line in enumerate(lines):
        if place == 0 and isinstance(line, str) and line.startswith("#version"):
            continue
        pair = line.split(" ") if isinstance(line, str) else line
        if line == "":
            continue
        _demand(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair),
            f"{line!r} is no merge of two tokens",
        )
        assert isinstance(pair, list)
        found.append((str(pair[0]), str(pair[1])))
    return found


def _of_parts(vocabulary: _Json, merges: list[tuple[str, str]]) -> BpeVocabulary:
    tokens = _numbers(vocabulary)
    # What nothing makes, and no byte is called, can stand in a text as itself alone.
    specials = {
        name: BpeSpecial(number=tokens[name])
        for name in ("<s>", "</s>", "<unk>", "<mask>", *_PADS)
        if name in tokens
    }
    return BpeVocabulary(tokens=tokens, merges=merges, specials=specials, pad=_pad(tokens, ""))


def _pad(tokens: Mapping[str, int], said: str) -> int | None:
    known = [name for name in (said, *_PADS) if name in tokens]
    return tokens[known[0]] if known else None


def _of_tokenizer(whole: _Json) -> BpeVocabulary:
    model, cut = _part(whole, "model"), _part(whole, "pre_tokenizer")
    kind = model.get("type")
    _demand(kind == "BPE", f"its model is {kind}, and not BPE")
    for name, usual in _FIXED.items():
        _demand(model.get(name) in usual, f"its {name} is {model.get(name)}")
    _demand(whole.get("normalizer") is None, "it has a normalizer")
    _demand(cut.get("type") == "ByteLevel", f"its pre_tokenizer is {cut.get('type')}")
    _demand(cut.get("use_regex", True) is True, "its words are cut by another rule than GPT-2's")
    _demand(cut.get("add_prefix_space") is False, "its add_prefix_space is on")
    for name in ("padding", "truncation"):
        right = _part(whole, name).get("direction", "Right") == "Right"
        _demand(right, "it cuts or fills up texts at their beginning")
    merges = model.get("merges")
    _demand(isinstance(merges, list), "it has no merges")
    assert isinstance(merges, list)
    tokens = _numbers(_part(model, "vocab"))
    specials = dict(_added(whole.get("added_tokens")))
    known = {**tokens, **{name: special.number for name, special in specials.items()}}
    before, after = _around(whole.get("post_processor"), known)
    said = _part(whole, "padding").get("pad_token", "")
    return BpeVocabulary(
        tokens=tokens, merges=_merges_of(merges), specials=specials, pad=_pad(known, str(said)),
        before=before, after=after,
    )  # fmt: skip


def _added(entries: object) -> Iterator[tuple[str, BpeSpecial]]:
    for entry in entries if isinstance(entries, list) else ():
        plain = isinstance(entry, dict) and not (entry.get("single_word") or entry.get("rstrip"))
        _demand(plain, f"of the added token {entry} only the plain form is possible, and lstrip")
        name, number = entry.get("content"), entry.get("id")
        _demand(isinstance(name, str) and name != "" and "\0" not in name, f"{entry} is damaged")
        (number,) = _numbers({str(name): number}).values()
        yield str(name), BpeSpecial(number=number, takes_spaces=entry.get("lstrip") is True)


def _around(behind: object, known: Mapping[str, int]) -> tuple[int | None, int | None]:
    """The tokens before and behind a text."""
    part = behind if isinstance(behind, dict) else {}
    kind = part.get("type")
    if kind == "Sequence":
        parts = part.get("processors")
        others = (
            [p for p in parts if p.get("type") != "ByteLevel"] if isinstance(parts, list) else []
        )
        _demand(len(others) <= 1, "it puts tokens around a text in several ways")
        return _around(others[0] if others else None, known)
    if kind in (None, "ByteLevel"):
        return None, None
    if kind in ("RobertaProcessing", "BertProcessing"):
        pairs = [part.get("cls"), part.get("sep")]
        names = [str(pair[0]) if isinstance(pair, list) and pair else "" for pair in pairs]
        return _known(known, names[0]), _known(known, names[1])
    _demand(kind == "TemplateProcessing", f"its post_processor is {kind}")
    single = part.get("single")
    names = [_special_in(each) for each in single] if isinstance(single, list) else []
    _demand(names.count("") == 1, "its template is damaged")
    place = names.index("")
    _demand(place <= 1 and len(names) - place <= 2, "it puts several tokens around a text")
    return (
        _known(known, names[0]) if place else None,
        _known(known, names[-1]) if place + 1 < len(names) else None,
    )


def _special_in(part: object) -> str:
    """The name of a template's token; "" for the text itself."""
    inside = _part(part, "SpecialToken") if isinstance(part, dict) else {}
    return str(inside.get("id", "")) if inside else ""


def _known(known: Mapping[str, int], name: str) -> int:
    _demand(name in known, f"has no token {name!r}")
    return known[name]


def _checked(vocabulary: BpeVocabulary) -> BpeVocabulary:
    tokens = vocabulary.tokens
    missing = [byte for byte, name in enumerate(byte_names()) if name not in tokens]
    _demand(not missing, f"has no token for {len(missing)} of 256 bytes")
    for left, right in vocabulary.merges:
        for name in (left, right, left + right):
            _demand(name in tokens, f"the merge of {left!r} and {right!r} needs a token {name!r}")
    specials = vocabulary.specials
    _demand(len(specials) <= MOST_SPECIALS, f"has over {MOST_SPECIALS} special tokens")
    halves = any("\ud800" <= c <= "\udfff" for name in (*tokens, *specials) for c in name)
    _demand(not halves, "has tokens with halves of characters")
    for name in specials:
        for other in specials:
            cut = any(name.endswith(other[:n]) for n in range(1, len(other)))
            within = other != name and other in name
            _demand(not (within or (cut and name != other)), f"{name!r} and {other!r} may overlap")
    return vocabulary

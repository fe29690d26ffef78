"""Hugging Face's tokenizer.json, of a tokenizer of BERT's kind."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edgekiln.models.text.bert_unicode import Habits
from edgekiln.models.text.table_format import MOST_CHARS
from edgekiln.models.text.token_numbers import contradiction
from edgekiln.runtime.codec import loads

CONTINUED = "##"  # before tokens that go on with a word
MOST_TOKENS = 1 << 24
_CROWDED = ("single_word", "lstrip", "rstrip", "normalized")  # what an added token may be besides


class ForeignTokenizerError(Exception):
    """It is of another kind, or damaged; the text says how."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What a file says, with tokens by their names."""

    numbers: Mapping[str, int]
    specials: Mapping[str, int]
    cls: str = "[CLS]"
    sep: str = "[SEP]"
    pad: str = "[PAD]"
    unknown: str = "[UNK]"
    habits: Habits = field(default_factory=Habits)
    most_chars: int = MOST_CHARS


def parse(text: str) -> Tokens:
    """Raises ForeignTokenizerError."""
    try:
        whole = loads(text)
    except ValueError as error:
        raise ForeignTokenizerError(f"is no JSON: {error}") from error
    _demand(isinstance(whole, dict), "is no tokenizer.json")
    model, behind = _part(whole, "model"), _part(whole, "post_processor")
    padding, truncation = _part(whole, "padding"), _part(whole, "truncation")
    # Files of before 2020 do not say which model it is.
    kind = model.get("type", "WordPiece")
    _demand(kind == "WordPiece", f"its model is {kind}, and not WordPiece")
    for name, wanted in (("normalizer", "BertNormalizer"), ("pre_tokenizer", "BertPreTokenizer")):
        found = _part(whole, name).get("type")
        _demand(found == wanted, f"its {name} is {found}, and not {wanted}")
    for part in (padding, truncation):
        right = part.get("direction", "Right") == "Right"
        _demand(right, "it cuts or fills up texts at their beginning")
    numbers = _numbers(model)
    _demand(not (wrong := contradiction(whole, numbers)), wrong)
    around = [*_around(behind)]
    _demand(len(around) == 2, "it does not put one token before a text and one behind it")
    return Tokens(
        numbers=numbers, specials=dict(_added(whole.get("added_tokens"))),
        cls=around[0], sep=around[1], pad=_word(padding, "pad_token", "[PAD]"),
        unknown=_word(model, "unk_token", "[UNK]"), habits=_habits(_part(whole, "normalizer")),
        most_chars=_most_chars(model),
    )  # fmt: skip


_Json = Mapping[str, object]


def _demand(holds: bool, what: str) -> None:
    if not holds:
        raise ForeignTokenizerError(what)


def _part(whole: _Json, name: str) -> _Json:
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _word(part: _Json, name: str, usual: str) -> str:
    word = part.get(name, usual)
    if not isinstance(word, str):
        raise ForeignTokenizerError(f"its {name} is {word}")
    return word


def _flag(part: _Json, name: str, usual: bool) -> bool:
    flag = part.get(name, usual)
    if not isinstance(flag, bool):
        raise ForeignTokenizerError(f"its {name} is {flag}")
    return flag


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MOST_TOKENS:
        raise ForeignTokenizerError(f"it has a token of number {value}")
    return value


def _numbers(model: _Json) -> dict[str, int]:
    prefix = _word(model, "continuing_subword_prefix", CONTINUED)
    _demand(prefix == CONTINUED, f"its words do not go on with {CONTINUED}")
    return {token: _number(number) for token, number in _part(model, "vocab").items()}


def _most_chars(model: _Json) -> int:
    most = _number(model.get("max_input_chars_per_word", MOST_CHARS))
    _demand(
        0 < most <= MOST_CHARS,
        f"its words may have {most} characters, and at most {MOST_CHARS} are possible",
    )
    return most


def _habits(normalizer: _Json) -> Habits:
    _demand(_flag(normalizer, "clean_text", True), "its clean_text is off")
    lower = _flag(normalizer, "lowercase", True)
    # Nobody's word for it is "as the case".
    said = normalizer.get("strip_accents") is not None
    stripped = _flag(normalizer, "strip_accents", lower) if said else lower
    ideographs = _flag(normalizer, "handle_chinese_chars", True)
    return Habits(lower=lower, accents=not stripped, ideographs=ideographs)


def _added(entries: object) -> Iterator[tuple[str, int]]:
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or any(entry.get(flag) for flag in _CROWDED):
            raise ForeignTokenizerError(
                f"of the added token {entry} only the plain form is possible"
            )
        name = _word(entry, "content", "")
        _demand(bool(name) and "\0" not in name, f"the added token {entry} is damaged")
        yield name, _number(entry.get("id"))


def _around(behind: _Json) -> Iterator[str]:
    """The tokens before and behind a text; more, or fewer, where it is not one each."""
    if behind.get("type") == "BertProcessing":
        for name in ("cls", "sep"):
            pair = behind.get(name)
            yield str(pair[0]) if isinstance(pair, list) and pair else ""
        return
    single = behind.get("single")
    parts = single if isinstance(single, list) else []
    for place, part in enumerate(parts):
        known = part if isinstance(part, dict) else {}
        inside = _part(known, "Sequence" if place == 1 else "SpecialToken")
        _demand(inside.get("type_id") == 0, "it gives a text another type than 0")
        if place != 1:
            yield _word(inside, "id", "")

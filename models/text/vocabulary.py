"""WordPiece vocabularies: BERT's vocab.txt, and Hugging Face's tokenizer.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekiln.models.text.bert_unicode import Habits
from edgekiln.models.text.table_format import MOST_CHARS, MOST_SPECIALS
from edgekiln.models.text.tokenizer_json import ForeignTokenizerError, Tokens, parse
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.limits import INPUTS, read_file

_NAMES = ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]")
# Unicode's White_Space; Python counts four control characters among it.
_WHITE = "".join(filter(str.isspace, map(chr, [*range(0x1C), *range(0x20, 0x3001)])))
_ONLY_WORDPIECE = (
    "give the vocab.txt, or the tokenizer.json, of a model of BERT's kind: WordPiece behind a "
    "BertNormalizer"
)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Tokens and their numbers, and how text is made ready for them.

    Args:
        specials: tokens that are taken as a whole where they stand in a text.
    """

    tokens: Mapping[str, int]
    cls: int
    sep: int
    pad: int
    unknown: int
    specials: Mapping[str, int]
    habits: Habits = field(default_factory=Habits)
    most_chars: int = MOST_CHARS


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a vocab.txt, which says nothing of letters' case, or a tokenizer.json.

    Raises:
        InputError: it cannot be read, or is of another kind of tokenizer.
    """
    content = read_file(path, INPUTS, hint="give a vocab.txt or tokenizer.json")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text in UTF-8", _ONLY_WORDPIECE) from error
    if path.suffix.lower() == ".json":
        try:
            return _vocabulary(path, parse(text))
        except ForeignTokenizerError as error:
            raise InputError(f"{path}: {error}", _ONLY_WORDPIECE) from error
    # As `tokenizers` reads it: of a token that stands there twice the last line counts.
    lines = text.removesuffix("\n").split("\n")
    numbers = {line.rstrip(_WHITE): number for number, line in enumerate(lines)}
    specials = {name: numbers[name] for name in _NAMES if name in numbers}
    return _vocabulary(path, Tokens(numbers=numbers, specials=specials))


def in_case(vocabulary: Vocabulary, lower: bool | None) -> Vocabulary:
    """The same for letters of the case that is told; None: of its own.

    Accents go with capital letters, as `tokenizers` has it where nobody says more.
    """
    if lower is None or lower == vocabulary.habits.lower:
        return vocabulary
    habits = replace(vocabulary.habits, lower=lower, accents=not lower)
    return replace(vocabulary, habits=habits)


def _vocabulary(path: Path, said: Tokens) -> Vocabulary:
    known = {**said.numbers, **said.specials}
    if any(map(_has_halves, known)):
        raise InputError(f"{path}: has tokens with halves of characters", _ONLY_WORDPIECE)
    for name in (said.cls, said.sep, said.pad, said.unknown):
        if name not in known:
            raise InputError(f"{path}: has no token {name!r}", _ONLY_WORDPIECE)
    if any("\ufffd" in name for name in said.specials):  # which stands for what is no UTF-8
        raise InputError(f"{path}: has a special token with U+FFFD in it", _ONLY_WORDPIECE)
    if len(said.specials) > MOST_SPECIALS:
        raise InputError(f"{path}: has over {MOST_SPECIALS} special tokens", _ONLY_WORDPIECE)
    return Vocabulary(
        tokens={token: number for token, number in said.numbers.items() if token},
        cls=known[said.cls], sep=known[said.sep], pad=known[said.pad],
        unknown=known[said.unknown], specials=said.specials, habits=said.habits,
        most_chars=said.most_chars,
    )  # fmt: skip


def _has_halves(name: str) -> bool:
    """Whether there are surrogates in it, which JSON may hold, and UTF-8 does not."""
    return any("\ud800" <= c <= "\udfff" for c in name)

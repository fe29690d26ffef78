"""Tables read from TOML or JSON → frozen dataclasses, with errors that name the key."""

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgekiln.runtime.codec import MAX_DEPTH
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.hints import (
    AnyHint,
    Hint,
    LiteralHint,
    MappingHint,
    RecordHint,
    ScalarHint,
    TupleHint,
    UnionHint,
    fields_of,
)
from edgekiln.runtime.limits import read_regular, reading_hint

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

NAMES: Mapping[type, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a string",
}


def did_you_mean(name: str, known: Iterable[str], what: str = "known") -> str:
    """A hint for a misspelt name: the nearest one, or all of them."""
    known = sorted(known)
    if near := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {near[0]}?"
    return f"{what}: {', '.join(known)}"


def kebab(field: str) -> str:
    """Keys in files and options on the command line: `max_drop` → `max-drop`."""
    return field.replace("_", "-")


def read_toml(path: Path, hint: str) -> dict[str, object]:
    """The table of a TOML file; `hint` says what it should be.

    Raises:
        FileNotFoundError: it is not there.
        ConfigError: it cannot be read, or is no TOML.
    """
    try:
        table = tomllib.loads(read_regular(path).decode())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", reading_hint(error, hint)) from error
    except ValueError as error:  # no UTF-8, no TOML, or a path with a zero byte
        raise ConfigError(f"{path}: {error}", hint) from error
    except RecursionError:
        raise _too_deep(path, hint) from None
    # Tables of dotted keys may be of any depth.
    inner: list[object] = [table]
    for _ in range(MAX_DEPTH):
        inner = [item for each in inner for item in _items(each)]
    if inner:
        raise _too_deep(path, hint)
    return table


def _items(value: object) -> Iterable[object]:
    """What lies in a table or a list."""
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()


def _too_deep(path: Path, hint: str) -> ConfigError:
    return ConfigError(f"{path}: nested deeper than {MAX_DEPTH}", hint)


def from_table(cls: type[T], table: Mapping[str, object], where: str) -> T:
    """Build the dataclass `cls` from a table with kebab-case keys.

    Args:
        where: names the file and section in errors, e.g. "fast.toml: [prune]".

    Raises:
        ConfigError: unknown key (with a suggestion), missing key, or wrong type.
    """
    hints = fields_of(cls)
    known = {kebab(f.name): f for f in fields(cls)}
    values = {}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(
                f"{where}: unknown key {key!r}", did_you_mean(key, known, what="keys are")
            )
        name = known[key].name
        values[name] = convert(value, hints[name], f"{where}: {key}")
    for key, f in known.items():
        if f.name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise ConfigError(f"{where}: {key} is missing", f"add {key} = …")
    return cls(**values)


def convert(value: object, hint: Hint, where: str) -> object:  # noqa: PLR0911 a hint each
    """`value` as the hint wants it; ConfigError says what was expected and found."""
    match hint, value:
        case (UnionHint(required=required), _):  # a table has no None: what is unset is left out
            return convert(value, required, where)
        case (AnyHint(), _):
            return value
        case (LiteralHint(values=values), _) if value in values:
            return value
        case RecordHint(kind=kind), Mapping():
            return from_table(kind, value, where)
        case MappingHint(value=of), Mapping():
            return {key: convert(item, of, f"{where}.{key}") for key, item in value.items()}
        case TupleHint(items=[of, *_]), list() | tuple():
            return tuple(convert(item, of, f"{where}[{i}]") for i, item in enumerate(value))
        case ScalarHint(kind=kind), bool() | int() | float() | str() if kind in NAMES:
            if kind is float and type(value) in (int, float):
                return _finite(value, where)
            if type(value) is int and not -(1 << 63) <= value < 1 << 63:
                # TOML's own range; Python reads, and the command line takes, any number of digits.
                raise ConfigError(f"{where} must be a whole number that 64 bits hold")
            if type(value) is kind:  # True is no number here
                return value
    raise ConfigError(f"{where} must be {expected(hint)}, found {found(value)}")


def _finite(value: float | str, where: str) -> float:
    """TOML has nan, inf and whole numbers beyond all floats; no limit is one of them."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError(f"{where} must be a finite number, found {value}")
    return number


def expected(hint: Hint) -> str:
    """The hint in words."""
    match hint:
        case UnionHint(required=required):
            return expected(required)
        case LiteralHint(values=values):
            return "one of " + ", ".join(map(str, values))
        case TupleHint(items=[of, *_]):
            return f"a list, each item {expected(of)}"
        case ScalarHint(kind=kind):
            return NAMES.get(kind, "a table")
    return "a table"


def found(value: object) -> str:
    """A value in words, for messages."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def whole_number(text: str, most: int) -> int | None:
    """The number that plain decimal digits say, at most `most`; None of anything else."""
    plain = text.isascii() and text.isdecimal() and len(text) <= len(str(most))
    number = int(text) if plain else -1
    return number if 0 <= number <= most else None

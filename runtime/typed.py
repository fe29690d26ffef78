"""Tables read from TOML or JSON → frozen dataclasses, with errors that name the key."""

import difflib
import math
from collections import abc
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from edgekiln.runtime.errors import ConfigError

T = TypeVar("T")

NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}


def did_you_mean(name: str, known: Iterable[str], what: str = "known") -> str:
    """A hint for a misspelt name: the nearest one, or all of them."""
    known = sorted(known)
    if near := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {near[0]}?"
    return f"{what}: {', '.join(known)}"


def kebab(field: str) -> str:
    """Keys in files and options on the command line: `max_drop` → `max-drop`."""
    return field.replace("_", "-")


def from_table(cls: type[T], table: Mapping[str, object], where: str) -> T:
    """Build the dataclass `cls` from a table with kebab-case keys.

    Args:
        where: names the file and section in errors, e.g. "fast.toml: [prune]".

    Raises:
        ConfigError: unknown key (with a suggestion), missing key, or wrong type.
    """
    hints = get_type_hints(cls)
    known = {kebab(f.name): f for f in fields(cast("Any", cls))}
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


def convert(value: Any, hint: Any, where: str) -> Any:
    """`value` as the annotation `hint` wants it; ConfigError says what was expected and found."""
    hint = _required(hint)
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any or (origin is Literal and value in args):
        return value
    if isinstance(value, Mapping) and is_dataclass(hint) and isinstance(hint, type):
        return from_table(hint, value, where)
    if isinstance(value, Mapping) and origin is abc.Mapping:
        return {key: convert(item, args[1], f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)) and origin is tuple:
        return tuple(convert(item, args[0], f"{where}[{i}]") for i, item in enumerate(value))
    if hint in NAMES and type(value) in ((int, float) if hint is float else (hint,)):
        if hint is float and not math.isfinite(value):  # TOML has nan and inf; no limit is one
            raise ConfigError(f"{where} must be a finite number, found {value}")
        return hint(value)
    raise ConfigError(f"{where} must be {expected(hint)}, found {found(value)}")


def _required(hint: object) -> object:
    """`X | None` → X: a table has no None, a key that is not set is left out."""
    if get_origin(hint) in (Union, UnionType):
        return next(arg for arg in get_args(hint) if arg is not NoneType)
    return hint


def expected(hint: Any) -> str:
    """The annotation in words."""
    hint = _required(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(str(arg) for arg in args)
    if origin is tuple:
        return f"a list, each item {expected(args[0])}"
    return NAMES.get(hint, "a table")


def found(value: object) -> str:
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)

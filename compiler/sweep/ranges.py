"""What a sweep may try of an option: a range of numbers, or choices; from TOML and from a line."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekiln.compiler.sweep.recipe_text import toml_value
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.hints import Hint, LiteralHint, ScalarHint, TupleHint, UnionHint
from edgekiln.runtime.typed import convert, did_you_mean

DIGITS = 4  # significant ones of a tried number: a recipe that people can read
FORM = "give low..high, low..high:log, low..high:step=S, or a,b,c"
_KEYS = ("low", "high", "log", "step")
_SPAN = re.compile(r"(?P<low>[^.:,]*(?:\.\d[^.:,]*)?)\.\.(?P<high>[^:,]+)(?P<rest>(?::[^:,]*)*)")


@dataclass(frozen=True, kw_only=True)
class FloatRange:
    """Numbers from `low` to `high`; by their logarithm, or a step apart, where that is said."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def value_of(self, tried: float) -> float:
        """The number that a trial takes: a few digits, so that equal ones are equal."""
        return min(max(float(f"{tried:.{DIGITS}g}"), self.low), self.high)

    @property
    def probes(self) -> tuple[float, ...]:
        """Values by which a stage tells whether it takes the range."""
        return (self.low, self.high)

    @property
    def size(self) -> int | None:
        """How many values there are; None: more than anybody tries."""
        return None if self.step is None else round((self.high - self.low) / self.step) + 1

    def __str__(self) -> str:
        kind = ":log" if self.log else "" if self.step is None else f":step={self.step:g}"
        return f"{self.low:g}..{self.high:g}{kind}"


@dataclass(frozen=True, kw_only=True)
class IntRange:
    """Whole numbers from `low` to `high`, both tried; by their logarithm, or a step apart."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    def value_of(self, tried: int) -> int:
        """The number that a trial takes."""
        return tried

    @property
    def probes(self) -> tuple[int, ...]:
        """Values by which a stage tells whether it takes the range."""
        return (self.low, self.high)

    @property
    def size(self) -> int | None:
        """How many values there are."""
        return (self.high - self.low) // self.step + 1

    def __str__(self) -> str:
        kind = ":log" if self.log else "" if self.step == 1 else f":step={self.step}"
        return f"{self.low}..{self.high}{kind}"


@dataclass(frozen=True, kw_only=True)
class ListedValues:
    """Any values of an option, none above another."""

    values: tuple[object, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The values as recipes have them, by which a study knows them."""
        return tuple(map(toml_value, self.values))

    def value_of(self, tried: str) -> object:
        """The value of this name."""
        return self.values[self.names.index(tried)]

    @property
    def probes(self) -> tuple[object, ...]:
        """Values by which a stage tells whether it takes them all."""
        return self.values

    @property
    def size(self) -> int | None:
        """How many values there are."""
        return len(self.values)

    def __str__(self) -> str:
        return ", ".join(self.names)


Range = FloatRange | IntRange | ListedValues


MAX_STEPS = 1_000_000  # of a range: more are as good as one without steps


def parse_range(given: object, hint: Hint, where: str) -> Range:
    """What TOML says may be tried of an option whose type is `hint`.

    Args:
        given: `[1, 2, 4]`, or `{low = 1e-4, high = 1e-2, log = true}`.
        where: names the option in errors.

    Raises:
        ConfigError: neither of these, of another type, empty, or of no end.
    """
    hint = hint.required if isinstance(hint, UnionHint) else hint
    if isinstance(given, Mapping):
        return _span(given, hint, where)
    if isinstance(given, list | tuple):
        return _listed(given, hint, where)
    raise ConfigError(
        f"{where}: {given!r} is no range", "give [a, b, c] or {low = 1e-4, high = 1e-2, log = true}"
    )


def read_range(text: str, hint: Hint, where: str) -> Range:
    """What the command line says: `1e-4..1e-2:log`, `1..9:step=2` or `minmax,entropy`.

    Raises:
        ConfigError: as `parse_range`.
    """
    scalar = hint.required if isinstance(hint, UnionHint) else hint
    if found := _SPAN.fullmatch(text.strip()):
        table: dict[str, object] = {
            "low": _number(found["low"], where),
            "high": _number(found["high"], where),
        }
        for word in filter(None, found["rest"].split(":")):
            key, equals, value = word.partition("=")
            if word == "log":
                table["log"] = True
            elif key == "step" and equals:
                table["step"] = _number(value, where)
            else:
                raise ConfigError(f"{where}: {word!r} is no part of a range", FORM)
        return _span(table, scalar, where)
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise ConfigError(f"{where}: {text!r} is no range", FORM)
    return _listed([_plain(word, scalar, where) for word in words], scalar, where)


def _span(table: Mapping[str, object], hint: Hint, where: str) -> FloatRange | IntRange:
    kind = hint.kind if isinstance(hint, ScalarHint) else None
    if kind not in (int, float):
        raise ConfigError(
            f"{where}: it is no number, which a range is for", "give the values to try: [a, b, c]"
        )
    for key in table:
        if key not in _KEYS:
            raise ConfigError(
                f"{where}: unknown key {key!r}", did_you_mean(key, _KEYS, what="a range has")
            )
    if missing := [key for key in ("low", "high") if key not in table]:
        raise ConfigError(f"{where}: {missing[0]} is missing", "a range has low and high")
    # Numbers of the option's type, as `kind` says; `log` is true or false.
    values: dict[str, Any] = {
        key: convert(table[key], ScalarHint(bool if key == "log" else kind), f"{where}: {key}")
        for key in table
    }
    low, high, step = values["low"], values["high"], values.get("step")
    if low >= high:
        raise ConfigError(
            f"{where}: the range from {low:g} to {high:g} is empty",
            "let low be below high; a single value belongs into the stage's own section",
        )
    if values.get("log") and low <= 0:
        raise ConfigError(f"{where}: {low:g} has no logarithm", "begin above 0, or leave out log")
    if step is not None and (step <= 0 or values.get("log")):
        reason = "a step is above 0" if step <= 0 else "a range has a step or log, not both"
        raise ConfigError(f"{where}: step = {step:g}", reason)
    if step is not None:  # the last one that is tried
        steps = (high - low) / step + 1e-9
        if not 1 <= steps <= MAX_STEPS:
            many = f"more than {MAX_STEPS} steps"
            reason = "it leads from low beyond high" if steps < 1 else many
            raise ConfigError(f"{where}: step = {step:g}", f"{reason}: take another step")
        values["high"] = high = low + int(steps) * step
    return FloatRange(**values) if kind is float else IntRange(**values)


def _listed(given: Sequence[object], hint: Hint, where: str) -> ListedValues:
    values = tuple(convert(value, hint, f"{where}[{i}]") for i, value in enumerate(given))
    if len({toml_value(value) for value in values}) < len(values):
        raise ConfigError(f"{where}: a value stands there twice", "name each once")
    if len(values) < 2:
        raise ConfigError(
            f"{where}: {'one value is' if values else 'no values are'} nothing to choose from",
            "name two or more; a single value belongs into the stage's own section",
        )
    return ListedValues(values=values)


def _number(text: str, where: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise ConfigError(f"{where}: {text!r} is no number", FORM)


def _plain(word: str, hint: Hint, where: str) -> object:
    """A word of the command line as TOML would have it."""
    match hint:
        case ScalarHint(kind=kind) if kind is bool and word in ("true", "false"):
            return word == "true"
        case ScalarHint(kind=kind) if kind in (int, float):
            return _number(word, where)
        case LiteralHint(values=values) if word not in values:
            return _number(word, where) if all(isinstance(v, int) for v in values) else word
        case TupleHint(items=[of, *_]):
            return [_plain(word, of, where)]
    return word

"""Traces: what a program with several operating points meets in a day, as a table in a file."""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.limits import INPUTS, read_file
from edgekiln.runtime.typed import kebab

MAX_SPANS = 10_000  # a board's server sends what became of so many
MAX_RUNS = 1_000_000_000  # of a span; the time that they take is bounded, too
MAX_US = 0xFFFFFFFF
UNKNOWN_C = -32768  # as in governor.h
_SECONDS = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_SHOWN = 40  # characters of a field that is wrong
HINT = (
    "a CSV file with a header: time_s, when a span begins; and any of runs, deadline_us or "
    "deadline_percent, energy_uj, temperature_c, battery_percent, load_percent"
)


@dataclass(frozen=True, kw_only=True)
class Range:
    """What a column may hold, and what an empty field of it means."""

    low: int
    high: int
    absent: int


COLUMNS: Mapping[str, Range] = {
    "runs": Range(low=1, high=MAX_RUNS, absent=1),
    "deadline_us": Range(low=1, high=MAX_US, absent=0),
    "deadline_percent": Range(low=1, high=100_000, absent=0),
    "energy_uj": Range(low=1, high=MAX_US, absent=0),
    "temperature_c": Range(low=-273, high=1000, absent=UNKNOWN_C),
    "battery_percent": Range(low=0, high=100, absent=100),
    "load_percent": Range(low=0, high=99, absent=0),
}


@dataclass(frozen=True, kw_only=True)
class TraceSpan:
    """A time in which conditions stay as they are."""

    begin_s: float
    runs: int
    deadline_us: int  # 0: none
    deadline_percent: int  # of the first point's p99, where it is given so; 0: not
    energy_uj: int  # that a run may take; 0: any
    temperature_c: int  # UNKNOWN_C: nobody measures
    battery_percent: int
    load_percent: int  # of the processor's time that others take

    def deadline_for(self, p99_us: int) -> int:
        """The deadline in microseconds, where the first point has this p99; 0 for none."""
        return self.deadline_us or min(-(-self.deadline_percent * p99_us // 100), MAX_US)


def read_trace(path: Path) -> tuple[TraceSpan, ...]:
    """The spans of a CSV file, in their order.

    Raises:
        InputError: no such file, or not a trace: the message names the line and the column.
    """
    content = read_file(path, INPUTS, HINT)
    try:
        text = content.decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        # A field in quotes may go over lines: a row is named by its last one.
        rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file: {error}", HINT) from error
    header = [name.strip() for name in rows[0][1]] if rows else []
    _check_header(header, path)
    spans: list[TraceSpan] = []
    for line, row in rows[1:]:
        if not any(field.strip() for field in row):
            continue
        spans.append(_span(header, row, f"{path}, line {line}"))
        if len(spans) > 1 and spans[-1].begin_s <= spans[-2].begin_s:
            raise InputError(f"{path}, line {line}: time_s does not rise", HINT)
    if not spans:
        raise InputError(f"{path}: no line but the header", HINT)
    if len(spans) > MAX_SPANS:
        raise InputError(
            f"{path}: {len(spans)} spans, a trace may have {MAX_SPANS}",
            "say by `runs` how many inferences a span has, or give several files",
        )
    return tuple(spans)


def _check_header(header: Sequence[str], path: Path) -> None:
    if "time_s" not in header:
        raise InputError(f"{path}: no column time_s", HINT)
    if wrong := [name for name in header if name not in (*COLUMNS, "time_s")]:
        raise InputError(f"{path}: no trace has a column {_shown(wrong[0])}", HINT)
    if len(set(header)) < len(header):
        raise InputError(f"{path}: a column is there twice", HINT)
    if {"deadline_us", "deadline_percent"} <= set(header):
        raise InputError(f"{path}: deadline_us and deadline_percent: give one of them", HINT)


def _span(header: Sequence[str], row: Sequence[str], where: str) -> TraceSpan:
    if len(row) != len(header):
        raise InputError(f"{where}: {len(row)} fields under {len(header)} names", HINT)
    fields = {name: field.strip() for name, field in zip(header, row, strict=True)}
    seconds = fields["time_s"]
    # Python's `float` takes underscores and the digits of all scripts, too.
    begin_s = float(seconds) if re.fullmatch(_SECONDS, seconds, re.ASCII) else math.nan
    if not abs(begin_s) < 1e12:  # neither NaN
        raise InputError(f"{where}: time_s = {_shown(seconds)} is no number of seconds", HINT)
    values = {
        name: _value(fields.get(name, ""), known, f"{where}: {name}")
        for name, known in COLUMNS.items()
    }
    return TraceSpan(begin_s=begin_s, **values)


def _value(field: str, known: Range, where: str) -> int:
    if not field:
        return known.absent
    digits = field.removeprefix("-")
    fits = digits.isascii() and digits.isdecimal() and len(digits) < 12
    if not fits or not known.low <= int(field) <= known.high:
        raise InputError(
            f"{where} = {_shown(field)} is no whole number from {known.low} to {known.high}", HINT
        )
    return int(field)


def _shown(field: str) -> str:
    """A field in a message, which is one line."""
    return repr(field if len(field) <= _SHOWN else f"{field[:_SHOWN]}…")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What the governor shall mind, as `model_policy_t` of governor.h; what is 0 changes nothing,
    and `patience` 0 is 8.
    """

    warm_c: int = 0
    hot_c: int = 0
    low_percent: int = 0
    empty_percent: int = 0
    patience: int = 0

    def __post_init__(self) -> None:
        """Raises ConfigError for what governor.h cannot hold, and for limits in the wrong order."""
        for name, low, high in (
            ("warm_c", -273, 1000), ("hot_c", -273, 1000), ("low_percent", 0, 100),
            ("empty_percent", 0, 100), ("patience", 0, 65535),
        ):  # fmt: skip
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"policy: {kebab(name)} = {value}", f"give {low} to {high}")
        if self.warm_c > self.hot_c:
            raise ConfigError(
                f"policy: warm-c = {self.warm_c} is above hot-c = {self.hot_c}",
                "from warm-c on the dearest points are left out, at hot-c all but one",
            )
        if self.empty_percent > self.low_percent:
            raise ConfigError(
                f"policy: empty-percent = {self.empty_percent} is above "
                f"low-percent = {self.low_percent}",
                "from low-percent down the dearest points are left out, at empty-percent all but "
                "one",
            )

    def ignored(self, spans: Sequence[TraceSpan]) -> tuple[str, ...]:
        """What the trace tells and this policy does not mind, in words."""
        found = []
        if self.warm_c == self.hot_c and any(each.temperature_c != UNKNOWN_C for each in spans):
            found.append("temperature_c changes nothing: give --policy warm-c=…,hot-c=…")
        if self.low_percent == self.empty_percent and any(
            each.battery_percent < 100 for each in spans
        ):
            found.append("battery_percent changes nothing: give --policy low-percent=…")
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A point in the governor's table, `model_cost_t` of governor.h."""

    p50_us: int
    p99_us: int
    energy_uj: int  # 0: not measured


def runner_text(policy: Policy, table: Sequence[TableRow], spans: Sequence[TraceSpan]) -> str:
    """What `runner trace` reads; runtime/c/trace.h says how it is built."""
    lines = [
        (policy.warm_c, policy.hot_c, policy.low_percent, policy.empty_percent, policy.patience)
    ]
    rows: list[tuple[int, ...]] = [(row.p50_us, row.p99_us, row.energy_uj) for row in table]
    rows += [
        (
            span.runs, span.deadline_for(table[0].p99_us), span.energy_uj, span.temperature_c,
            span.battery_percent, span.load_percent,
        )
        for span in spans
    ]  # fmt: skip
    return "".join(" ".join(map(str, row)) + "\n" for row in (*lines, *rows))

"""Axes of small charts: where values lie, and which of them are written down."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_MARGIN = 0.05  # of the span, on both sides
_TICKS = 4


@dataclass(frozen=True, kw_only=True)
class ChartAxis:
    """A scale from 0, the left or lower end, to 1."""

    low: float
    high: float
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()  # place and text
    words: tuple[str, ...] = field(default=())  # of an axis of values without an order

    def place(self, value: float) -> float:
        """Where a number lies."""
        low, high, at = ((math.log(v) if self.log else v) for v in (self.low, self.high, value))
        return (at - low) / (high - low)

    def place_of(self, word: str) -> float:
        """Where a word lies."""
        return (self.words.index(word) + 0.5) / len(self.words)


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A trial in a chart."""

    x: float
    y: float
    kind: str  # "best", "good", "other", or "out": beyond a limit
    text: str  # shown when pointed at
    trial: int | None = None  # by which a page finds the same one elsewhere
    whiskers: str = ""  # an SVG path over the spread

    @property
    def best(self) -> bool:
        """Whether it is drawn last, above the others."""
        return self.kind == "best"


@dataclass(frozen=True, kw_only=True)
class ScatterChart:
    """Trials by two quantities."""

    name: str
    size: tuple[int, int]
    x: ChartAxis
    y: ChartAxis
    dots: tuple[Dot, ...]
    steps: str = ""  # of an SVG polyline: the best so far


def number_axis(
    values: Sequence[float],
    *,
    log: bool = False,
    whole: bool = False,
    shown: Callable[[float], str] = "{:.6g}".format,
) -> ChartAxis:
    """An axis on which all of `values` lie, with a few round numbers, `shown` so."""
    low, high = min(values), max(values)
    if log:
        margin = (high / low) ** _MARGIN if high > low else 1.5
        low, high = low / margin, high * margin
        marks = _decades(low, high)
    else:
        margin = (high - low) * _MARGIN or abs(low) * _MARGIN or 1.0
        low, high = low - margin, high + margin
        marks = _round_numbers(low, high, least=1.0 if whole else 0.0)
    axis = ChartAxis(low=low, high=high, log=log)
    ticks = tuple((axis.place(mark), shown(mark)) for mark in marks)
    return ChartAxis(low=low, high=high, log=log, ticks=ticks)


def word_axis(words: Sequence[str]) -> ChartAxis:
    """An axis with a place for each word."""
    known = tuple(dict.fromkeys(sorted(words)))
    axis = ChartAxis(low=0.0, high=1.0, words=known)
    return ChartAxis(
        low=0.0, high=1.0, words=known, ticks=tuple((axis.place_of(w), w) for w in known)
    )


def _round_numbers(low: float, high: float, least: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, not nearer than `least`."""
    wanted = max((high - low) / _TICKS, least)
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next((m * power for m in (1, 2, 5, 10) if m * power >= wanted), 10 * power)
    first = math.ceil(low / step)
    return [place * step for place in range(first, math.floor(high / step) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten; where there is no two of them, the ends."""
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    marks = [10.0**power for power in range(first, last + 1)]
    return marks if len(marks) > 1 else [float(f"{low:.2g}"), float(f"{high:.2g}")]

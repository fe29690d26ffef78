"""The page of a replayed trace: one HTML file without anything from elsewhere."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from edgekiln.compiler.sweep.charts import ChartAxis, number_axis
from edgekiln.compiler.sweep.html import template
from edgekiln.compiler.trace.lines import PROXY, missed, relative
from edgekiln.compiler.trace.report import TraceReport
from edgekiln.runtime.replay_result import SpanOutcome
from edgekiln.runtime.text import human_seconds, si

_SIZE = (320, 150)  # of a chart's area, in its own units
_MOST_COLUMNS = 320  # one a unit
_UNITS = ((2 * 86_400, 86_400, "days"), (2 * 3600, 3600, "h"), (2 * 60, 60, "min"), (0, 1, "s"))


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line or an area of a chart, with its name in the legend."""

    name: str
    kind: str  # a class of the page's style
    path: str  # of SVG


@dataclass(frozen=True, kw_only=True)
class TimeChart:
    """Curves over the time of the trace."""

    name: str
    note: str
    size: tuple[int, int]
    x: ChartAxis
    y: ChartAxis
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class _Stripe:
    """Some spans that follow each other, drawn as one column."""

    begin: float  # from 0, the trace's begin, to 1
    end: float
    spans: Sequence[SpanOutcome]


def trace_page(report: TraceReport) -> str:
    """The page's text."""
    return template("trace.html.j2", ("edgekiln.compiler.trace",)).render(
        report=report, replay=report.replay, charts=list(_charts(report)), missed=missed,
        relative=relative, si=si, duration=human_seconds, proxy=PROXY,
    )  # fmt: skip


def _charts(report: TraceReport) -> Iterator[TimeChart]:
    spans = report.replay.spans
    end_s = _end_s(spans)
    parts = list(_parts(spans, end_s))
    x = _time_axis(end_s - spans[0].begin_s)
    yield _chosen(report, parts, x)
    yield _misses(report, parts, x)
    for name, value in _CONDITIONS:
        if len({value(span) for span in spans}) > 1:
            yield _condition(name, value, parts, x)


_CONDITIONS: tuple[tuple[str, Callable[[SpanOutcome], float | None]], ...] = (
    ("Deadline, ms", lambda span: span.deadline_us / 1e3 if span.deadline_us else None),
    ("Temperature, °C", lambda span: span.temperature_c),
    ("Battery, %", lambda span: span.battery_percent),
    ("Load, %", lambda span: span.load_percent),
)


def _end_s(spans: Sequence[SpanOutcome]) -> float:
    """When the last span ends, of which nobody says how long it is: as long as the mean one."""
    first, last = spans[0].begin_s, spans[-1].begin_s
    return last + ((last - first) / (len(spans) - 1) if len(spans) > 1 else 1.0)


def _parts(spans: Sequence[SpanOutcome], end_s: float) -> Iterator[_Stripe]:
    first, length = spans[0].begin_s, end_s - spans[0].begin_s
    columns = [
        list(group)
        for _, group in itertools.groupby(
            spans, lambda span: int((span.begin_s - first) / length * _MOST_COLUMNS)
        )
    ]
    begins = [(column[0].begin_s - first) / length for column in columns]
    for column, (begin, end) in zip(columns, itertools.pairwise((*begins, 1.0)), strict=True):
        yield _Stripe(begin, end, column)


def _time_axis(length_s: float) -> ChartAxis:
    size, unit = next((size, unit) for least, size, unit in _UNITS if length_s >= least)
    marks = number_axis([0.0, length_s / size], shown=lambda value: f"{value:g} {unit}")
    low, high = marks.low, marks.high
    # From the begin to the end, without a margin: it is a time, not a cloud of points.
    ticks = [(low + place * (high - low), text) for place, text in marks.ticks]
    shown = tuple(
        (value * size / length_s, text)
        for value, text in ticks
        if -1e-9 <= value * size <= length_s
    )
    return ChartAxis(low=0.0, high=length_s, ticks=shown)


def _chosen(report: TraceReport, parts: Sequence[_Stripe], x: ChartAxis) -> TimeChart:
    """Which share of the runs each point had, the dearest on top."""
    points = report.replay.points
    heights = [0.0] * len(parts)
    curves = []
    for number in reversed(range(len(points))):
        shares = [
            sum(span.governed_runs[number] for span in part.spans)
            / sum(span.runs for span in part.spans)
            for part in parts
        ]
        tops = [low + share for low, share in zip(heights, shares, strict=True)]
        curves.append(
            Curve(
                name=points[number].name,
                kind=f"area p{_shade(number, len(points))}",
                path=_area(parts, heights, tops),
            )
        )
        heights = tops
    ticks = ((0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %"))
    return TimeChart(
        name="Which point ran",
        note="share of the runs",
        size=_SIZE,
        x=x,
        y=ChartAxis(low=0.0, high=1.0, ticks=ticks),
        curves=tuple(reversed(curves)),
    )


def _shade(number: int, count: int) -> int:
    """The number of the style's shade, 0 to 3, of which 0 is the dearest point's."""
    return round(3 * number / max(count - 1, 1))


def _misses(report: TraceReport, parts: Sequence[_Stripe], x: ChartAxis) -> TimeChart:
    """Deadlines missed so far."""
    points = report.replay.points
    missed_by: list[Callable[[SpanOutcome], int]] = [lambda span: span.governed_misses]
    missed_by += [partial(_missed_at, number) for number in range(len(points))]
    rows = [
        list(itertools.accumulate(sum(map(of, part.spans)) for part in parts)) for of in missed_by
    ]
    y = number_axis([0.0, 1.0, *(row[-1] for row in rows)], whole=True, shown=lambda v: f"{v:,.0f}")
    names = ["governor", *(point.name for point in points)]
    kinds = ["governor", *(f"alone p{_shade(n, len(points))}" for n in range(len(points)))]
    curves = [
        Curve(name=name, kind=f"line {kind}", path=_steps(parts, [y.place(v) for v in row]))
        for name, kind, row in zip(names, kinds, rows, strict=True)
    ]
    return TimeChart(
        name="Deadlines missed", note="so far", size=_SIZE, x=x, y=y,
        curves=(*curves[1:], curves[0]),
    )  # fmt: skip


def _missed_at(number: int, span: SpanOutcome) -> int:
    return span.point_misses[number]


def _condition(
    name: str, value: Callable[[SpanOutcome], float | None], parts: Sequence[_Stripe], x: ChartAxis
) -> TimeChart:
    """A condition of the trace, its mean over each column; a gap where it is not known."""
    means = []
    for part in parts:
        known = [found for span in part.spans if (found := value(span)) is not None]
        means.append(sum(known) / len(known) if known else None)
    y = number_axis([mean for mean in means if mean is not None])
    places = [None if mean is None else y.place(mean) for mean in means]
    curve = Curve(name="", kind="line condition", path=_steps(parts, places))
    return TimeChart(name=name, note="", size=_SIZE, x=x, y=y, curves=(curve,))


def _across(place: float) -> str:
    return f"{place * _SIZE[0]:.1f}"


def _above(place: float) -> str:
    return f"{(1 - place) * _SIZE[1]:.1f}"


def _steps(parts: Sequence[_Stripe], places: Sequence[float | None]) -> str:
    """A line that stays as it is for a column and then jumps."""
    path, drawing = "", False
    for part, place in zip(parts, places, strict=True):
        if place is not None:
            at = f"{_across(part.begin)},{_above(place)}"
            path += f"L{at}" if drawing else f"M{at}"
            path += f"H{_across(part.end)}"
        drawing = place is not None
    return path


def _area(parts: Sequence[_Stripe], lows: Sequence[float], tops: Sequence[float]) -> str:
    """Columns from `lows` to `tops`."""
    return "".join(
        f"M{_across(part.begin)},{_above(low)}V{_above(top)}H{_across(part.end)}V{_above(low)}Z"
        for part, low, top in zip(parts, lows, tops, strict=True)
        if top > low
    )

"""The page of a front: one HTML file without anything from elsewhere."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgekiln.compiler.sweep.charts import ChartAxis, Dot, ScatterChart, number_axis
from edgekiln.compiler.sweep.front import SpreadValue
from edgekiln.compiler.sweep.front_document import FrontPoint, FrontResult, shown_with_spread
from edgekiln.compiler.sweep.html import template
from edgekiln.compiler.sweep.measures import Measure
from edgekiln.compiler.sweep.result import TrialRow

_SIZE = (320, 220)  # of a chart's area, in its own units
_WIDE_SPAN = 30.0  # from the least to the most, beyond which an axis is logarithmic


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Two points of the front, one beside the other, and what leads from one to the other."""

    one: FrontPoint
    other: FrontPoint
    gains: tuple[str, ...]  # what becomes of each measure
    changes: tuple[str, ...]  # options that differ


def front_page(result: FrontResult) -> str:
    """The page's text."""
    measures, count = result.measures, len(result.objectives)
    return template("front.html.j2", ("edgekiln.compiler.search",)).render(
        result=result,
        measures=measures,
        charts=[
            _chart(result, along, up) for up, along in itertools.combinations(measures[:count], 2)
        ],
        neighbours=list(_neighbours(result)),
        states={
            state: sum(row.state == state for row in result.trials)
            for state in ("done", "stopped", "failed")
        },
        data=_data(result, measures),
        shown=shown_with_spread,
    )


def _chart(result: FrontResult, along: Measure, up: Measure) -> ScatterChart:
    known = {point.trial for point in result.points}
    others = [row for row in result.trials if row.holds and row.number not in known]
    x = _axis(along, [p.values[along.name] for p in result.points], others)
    y = _axis(up, [p.values[up.name] for p in result.points], others)
    dots = [_other(row, along, up, x, y) for row in others]
    return ScatterChart(
        name=f"{up.name} over {along.name}",
        size=_SIZE,
        x=x,
        y=y,
        dots=tuple(dots + [_dot(result, point, along, up, x, y) for point in result.points]),
    )


def _axis(measure: Measure, spreads: Sequence[SpreadValue], rows: Sequence[TrialRow]) -> ChartAxis:
    values = [end for each in spreads for end in (each.low, each.high)]
    values += [row.measures[measure.name] for row in rows]
    wide = min(values) > 0 and max(values) > _WIDE_SPAN * min(values)
    return number_axis(values, log=wide, shown=measure.shown)


def _other(row: TrialRow, along: Measure, up: Measure, x: ChartAxis, y: ChartAxis) -> Dot:
    told = ", ".join(each.told(row.measures[each.name]) for each in (up, along))
    return Dot(
        x=_across(x, row.measures[along.name]),
        y=_above(y, row.measures[up.name]),
        kind="other",
        text=f"trial {row.number}: {told}",
    )


def _dot(
    result: FrontResult,
    point: FrontPoint,
    along: Measure,
    up: Measure,
    x: ChartAxis,
    y: ChartAxis,
) -> Dot:
    right, high = point.values[along.name], point.values[up.name]
    at = (_across(x, right.value), _above(y, high.value))
    whiskers = ""
    if right.high > right.low:
        whiskers += f"M{_across(x, right.low)},{at[1]}H{_across(x, right.high)}"
    if high.high > high.low:
        whiskers += f"M{at[0]},{_above(y, high.low)}V{_above(y, high.high)}"
    told = ", ".join(
        f"{each.name} {shown_with_spread(each, point.values[each.name])}"
        for each in result.measures
    )
    return Dot(
        x=at[0],
        y=at[1],
        kind="good" if point.on_front else "out",
        text=f"trial {point.trial}: {told}",
        trial=point.trial,
        whiskers=whiskers,
    )


def _across(axis: ChartAxis, value: float) -> float:
    return round(axis.place(value) * _SIZE[0], 1)


def _above(axis: ChartAxis, value: float) -> float:
    return round((1 - axis.place(value)) * _SIZE[1], 1)


def _neighbours(result: FrontResult) -> Iterator[Neighbours]:
    for one, other in itertools.pairwise(result.front):
        yield Neighbours(
            one=one,
            other=other,
            gains=tuple(_gain(each, one, other) for each in result.measures),
            changes=tuple(
                f"{name} {one.options[name]} → {other.options[name]}"
                for name in one.options
                if one.options[name] != other.options[name]
            ),
        )


def _gain(measure: Measure, one: FrontPoint, other: FrontPoint) -> str:
    """How a measure changes; within the spreads it may not."""
    before, after = one.values[measure.name], other.values[measure.name]
    by = after.value - before.value
    if measure.metric.share:
        text = f"{100 * by:+.2f} points"
    elif before.value:
        text = f"{100 * by / abs(before.value):+.1f} %"
    else:
        text = f"{by:+.4g}"
    apart = before.high < after.low or after.high < before.low
    return f"{measure.name} {text}" + ("" if apart or not by else " (within the spread)")


def _data(result: FrontResult, measures: Sequence[Measure]) -> Mapping[str, object]:
    """What the page's script compares points by."""
    return {
        "measures": [
            {"name": each.name, "share": each.metric.share, "more": each.maximized}
            for each in measures
        ],
        "points": {
            str(point.trial): {
                "values": [point.values[each.name].value for each in measures],
                "texts": [shown_with_spread(each, point.values[each.name]) for each in measures],
                "test": ", ".join(f"{each.label} {each}" for each in point.test),
                "model": point.model,
                "options": point.options,
                "bundle": point.bundle,
                "recipe": point.recipe,
            }
            for point in result.points
        },
    }

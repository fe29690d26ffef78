"""The page of a sweep: one HTML file without anything from elsewhere."""

import math
from collections.abc import Sequence

from edgekiln.compiler.sweep.charts import ChartAxis, Dot, ScatterChart, number_axis, word_axis
from edgekiln.compiler.sweep.html import template
from edgekiln.compiler.sweep.measures import Measure
from edgekiln.compiler.sweep.result import SweepResult, TrialRow, best_of

WIDE, SMALL = (640, 240), (320, 200)  # the charts' areas, in their own units


def page(result: SweepResult, measures: Sequence[Measure]) -> str:
    """The page's text. `measures`: what each trial has, the objective first."""
    done = [row for row in result.trials if row.state == "done"]
    return template("sweep.html.j2").render(
        result=result,
        measures=measures,
        objective=measures[0],
        best=None if result.best is None else result.trial(result.best),
        states={state: _count(result.trials, state) for state in ("done", "stopped", "failed")},
        history=_history(result, done, measures[0]) if done else None,
        slices=[_slice(name, result, done, measures[0]) for name in result.space] if done else [],
        bars=sorted(result.importances.items(), key=lambda item: -item[1]),
        rows=_sorted(result, measures[0]),
    )


def _count(rows: Sequence[TrialRow], state: str) -> int:
    return sum(row.state == state for row in rows)


def _sorted(result: SweepResult, objective: Measure) -> list[TrialRow]:
    """The best first, then those beyond a limit, then the others."""
    sign = -1.0 if objective.maximized else 1.0

    def rank(row: TrialRow) -> tuple[bool, bool, float, int]:
        value = row.measures.get(objective.name)
        return (not row.holds, value is None, sign * (value or 0.0), row.number)

    return sorted(result.trials, key=rank)


def _history(result: SweepResult, done: Sequence[TrialRow], objective: Measure) -> ScatterChart:
    x = number_axis([row.number for row in result.trials], whole=True)
    y = number_axis([row.measures[objective.name] for row in done], shown=objective.shown)
    width, height = WIDE
    points, so_far = [], None
    for place, row in enumerate(done):
        best = best_of(done[: place + 1], objective.name, objective.metric.better)
        value = None if best is None else best.measures[objective.name]
        if value is None:
            continue
        across = x.place(row.number) * width
        if so_far is not None:  # a step: flat until this trial
            points.append((across, (1 - y.place(so_far)) * height))
        points.append((across, (1 - y.place(value)) * height))
        so_far = value
    return ScatterChart(
        name="trial",
        size=WIDE,
        x=x,
        y=y,
        dots=tuple(_dot(result, row, objective, x.place(row.number), y, WIDE) for row in done),
        steps=" ".join(f"{across:.1f},{up:.1f}" for across, up in points),
    )


def _slice(
    name: str, result: SweepResult, done: Sequence[TrialRow], objective: Measure
) -> ScatterChart:
    texts = [row.options[name] for row in done]
    numbers = [_number(text) for text in texts]
    y = number_axis([row.measures[objective.name] for row in done], shown=objective.shown)
    found = [number for number in numbers if number is not None]
    if len(found) == len(texts) and "," not in result.space[name]:
        x = number_axis(found, log=result.space[name].endswith(":log"))
        places = [x.place(number) for number in found]
    else:
        x = word_axis(texts)
        places = [x.place_of(text) for text in texts]
    dots = tuple(
        _dot(result, row, objective, place, y, SMALL)
        for row, place in zip(done, places, strict=True)
    )
    return ScatterChart(name=name, size=SMALL, x=x, y=y, dots=dots)


def _dot(
    result: SweepResult,
    row: TrialRow,
    objective: Measure,
    across: float,
    y: ChartAxis,
    size: tuple[int, int],
) -> Dot:
    value = row.measures[objective.name]
    kind = "best" if row.number == result.best else "good" if row.holds else "out"
    told = ", ".join(f"{name} = {text}" for name, text in row.options.items())
    return Dot(
        x=round(across * size[0], 1),
        y=round((1 - y.place(value)) * size[1], 1),
        kind=kind,
        text=f"trial {row.number}: {objective.name} {objective.shown(value)}; {told}",
    )


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None

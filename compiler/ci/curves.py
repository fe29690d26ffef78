"""Training curves as pictures of a page: SVG, in the page's own colors, nothing from elsewhere."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgekiln.compiler.build.result import Step
from edgekiln.compiler.pipeline.curve import TrainingCurves

# In units of the picture, which is as wide as the page lets it.
WIDTH, HEIGHT = 360, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 8, 20  # around the axes, for their labels
_TRAIN, _VAL = "/train", "/val"


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One line of a chart; `points` are those of an SVG polyline."""

    kind: str  # "train", "val" or "teacher"
    points: str
    last: str


@dataclass(frozen=True, kw_only=True)
class EpochChart:
    """One quantity over the epochs of a training.

    Args:
        low, high: labels of the vertical axis.
        first, last: those of the horizontal one.
        told: the same in words, for those who do not see it.
    """

    name: str
    traces: tuple[Trace, ...]
    low: str
    high: str
    first: str
    last: str
    told: str


@dataclass(frozen=True, kw_only=True)
class Training:
    """The charts of one training, under a heading."""

    name: str
    charts: tuple[EpochChart, ...]


def trainings(steps: Sequence[Step]) -> list[Training]:
    """Every training that the stages went through, in their order."""
    return [
        Training(name=f"{step.stage}: {curves.training}", charts=tuple(_charts(curves)))
        for step in steps
        for curves in step.curves
    ]


def axes() -> tuple[int, int, int, int]:
    """Where the axes lie: left, right, top and bottom, in units of the picture."""
    return _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM


def _charts(curves: TrainingCurves) -> Iterator[EpochChart]:
    """A chart a quantity; those of training and validation lie in one."""
    bases = dict.fromkeys(name.removesuffix(_TRAIN).removesuffix(_VAL) for name in curves.series)
    for base in bases:
        lines = {
            "train": curves.series.get(f"{base}{_TRAIN}", ()),
            # What is of neither, such as the learning rate, is drawn as the main line.
            "val": curves.series.get(f"{base}{_VAL}", curves.series.get(base, ())),
        }
        found = {kind: values for kind, values in lines.items() if any(map(_known, values))}
        teacher = curves.teacher.get(f"{base}{_VAL}")
        if teacher is not None:
            found["teacher"] = (teacher,) * len(curves.epochs)
        if set(found) - {"teacher"}:
            yield _chart(base.replace("_", " "), curves.epochs, found)


def _chart(
    name: str, epochs: Sequence[int], lines: dict[str, tuple[float | None, ...]]
) -> EpochChart:
    known = [value for values in lines.values() for value in values if value is not None]
    low, high = min(known), max(known)
    traces = []
    for kind, values in lines.items():
        drawn = [
            (epoch, value) for epoch, value in zip(epochs, values, strict=True) if value is not None
        ]
        points = [
            f"{_across(epoch, epochs):.1f},{_up(value, low, high):.1f}" for epoch, value in drawn
        ]
        # A line of one point is none: it is drawn as wide as the chart.
        if len(points) == 1:
            height = _up(drawn[0][1], low, high)
            points = [f"{_LEFT},{height:.1f}", f"{WIDTH - _RIGHT},{height:.1f}"]
        last = f"{drawn[-1][1]:.4g}"
        traces.append(Trace(kind=kind, points=" ".join(points), last=last))
    alone = len(traces) == 1
    told = ", ".join(trace.last if alone else f"{trace.kind} {trace.last}" for trace in traces)
    return EpochChart(
        name=name,
        traces=tuple(traces),
        low=f"{low:.3g}",
        high=f"{high:.3g}",
        first=str(epochs[0]),
        last=str(epochs[-1]),
        told=f"{name} by epoch, at the end {told}",
    )


def _known(value: float | None) -> bool:
    return value is not None


def _across(epoch: int, epochs: Sequence[int]) -> float:
    span = max(1, epochs[-1] - epochs[0])
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * (epoch - epochs[0]) / span


def _up(value: float, low: float, high: float) -> float:
    """The height of a value; what never changes lies in the middle."""
    part = (value - low) / (high - low) if high > low else 0.5
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * part

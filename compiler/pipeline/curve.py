"""What happened in the epochs of a training, small enough to travel with an artifact's metrics."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MOST_POINTS = 100  # of a curve; a longer training shows every second epoch, or every third, …
_DIGITS = 5  # as many as a picture can show


@dataclass(frozen=True, kw_only=True)
class TrainingCurves:
    """Several quantities over the epochs of one training.

    Args:
        training: what was trained: "student", "teacher resnet20", "cut 1/2".
        epochs: counted from 1, those that have points.
        series: one number an epoch by name: "loss/train", "loss/val", "accuracy/val",
            "learning_rate"; None where a number was not finite.
        teacher: what the teacher has of a series, by its name.
    """

    training: str
    epochs: tuple[int, ...]
    series: Mapping[str, tuple[float | None, ...]]
    teacher: Mapping[str, float] = field(default_factory=dict)


def curves_of(
    training: str, history: Sequence[Mapping[str, float]], teacher: Mapping[str, float]
) -> TrainingCurves:
    """The curves of a training, at most `MOST_POINTS` long; the last epoch is always among them.

    Args:
        history: what was measured in each epoch.
        teacher: as `TrainingCurves` has it.
    """
    every = max(1, math.ceil(len(history) / MOST_POINTS))
    places = range((len(history) - 1) % every, len(history), every)
    names = dict.fromkeys(name for epoch in history for name in epoch)
    return TrainingCurves(
        training=training,
        epochs=tuple(place + 1 for place in places),
        series={
            name: tuple(_rounded(history[place].get(name, math.nan)) for place in places)
            for name in names
        },
        teacher={
            name: rounded
            for name, value in teacher.items()
            if (rounded := _rounded(value)) is not None
        },
    )


def _rounded(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None

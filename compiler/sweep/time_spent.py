"""How long a study has been worked on: by any number of workers, with any pauses between."""

import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def spent_s(trials: "Sequence[FrozenTrial]", now_s: float) -> float:
    """The time in which at least one of `trials` was under way, in seconds: what several workers do
    at once counts once, and what lies between two runs does not.

    Args:
        now_s: Unix time, up to which a trial counts that is under way.
    """
    total = end = 0.0
    for begin, until in sorted(_spans(trials, now_s)):
        total += max(0.0, until - max(begin, end))
        end = max(end, until)
    return total


def is_over(trials: "Sequence[FrozenTrial]", budget_s: float, now_s: float) -> bool:
    """Whether another trial would not come to its end in time, if it took as long as is usual. The
    first one always begins.
    """
    if not trials:
        return False
    usual = statistics.median(until - begin for begin, until in _spans(trials, now_s))
    return spent_s(trials, now_s) + usual > budget_s


def _spans(trials: "Sequence[FrozenTrial]", now_s: float) -> Iterator[tuple[float, float]]:
    for trial in trials:
        if trial.datetime_start is not None:
            ended = trial.datetime_complete
            until = now_s if ended is None else ended.timestamp()
            yield trial.datetime_start.timestamp(), until

"""What a replayed trace cost, and how good the answers were."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgekiln.compiler.build.scoring import scores_of
from edgekiln.compiler.evaluation.examine import examine
from edgekiln.compiler.evaluation.subject import program_subject
from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.pipeline.stage import Advance
from edgekiln.compiler.trace.cascade import Cascade
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.points import names
from edgekiln.runtime.replay_result import Replay


@dataclass(frozen=True, kw_only=True)
class TraceReport:
    """What was measured of a program's points, a replay where there was a trace and, where the
    user named a data set, what the points' answers are worth.

    `scores` are the points', measured on the data's test split. `governed` is their mean by how
    often the governor chose each: of an accuracy, what is to be expected of the trace.
    """

    trace: str  # "" where there was none
    data: str  # "" where none was named
    seed: int | None  # that split the data; None without any
    replay: Replay
    scores: tuple[Score, ...]  # by the first metric of the first task; empty without data
    governed: Score | None
    cascades: tuple[Cascade, ...]  # where they were asked for


def trace_report(
    trace: str,
    data: str,
    seed: int | None,
    replayed: Replay,
    scores: Sequence[Score],
    found: Sequence[Cascade] = (),
) -> TraceReport:
    """The report; `scores` are the points', or none; `found` are the cascades of them."""
    return TraceReport(
        trace=trace,
        data=data,
        seed=seed,
        replay=replayed,
        scores=tuple(scores),
        governed=(
            _mean(scores, replayed.strategies[0].runs_at)
            if scores and replayed.strategies
            else None
        ),
        cascades=tuple(found),
    )


def scores_of_points(opened: ProgramFile, data: str, seed: int, advance: Advance) -> list[Score]:
    """How good each point is on the test split. Raises as `examine`."""
    return [
        scores_of(
            examine(
                program_subject(opened.spec, opened.files, point), data=data, seed=seed,
                advance=advance,
            )
        )[0]
        for point in range(len(names(opened.spec)))
    ]  # fmt: skip


def _mean(scores: Sequence[Score], runs: Sequence[int]) -> Score:
    weighted = sum(score.value * count for score, count in zip(scores, runs, strict=True))
    return replace(scores[0], value=weighted / sum(runs))

"""What a replayed trace says of a program with several operating points."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgekiln.runtime.runner_documents import RunnerGoverned, RunnerOutcomes, RunnerTrace
from edgekiln.runtime.trace import UNKNOWN_C, Policy, TableRow, TraceSpan

GOVERNOR = "governor"  # the strategy that is not one point


@dataclass(frozen=True, kw_only=True)
class PointCosts:
    """What a run at one operating point takes, as measured beside the others on the device."""

    name: str
    macs: int
    median_s: float  # of the trials' medians
    p99_s: float  # of the trials' 99th percentiles, too
    spread: float  # of the trials' medians: (max - min) / median
    energy_j: float | None  # gross; None: not measured
    row: TableRow  # in the governor's table, where costs never rise from a point to the next


@dataclass(frozen=True, kw_only=True)
class SpanOutcome:
    """A span of the trace, and what became of its runs."""

    begin_s: float
    runs: int
    deadline_us: int  # 0: none
    temperature_c: int | None
    battery_percent: int
    load_percent: int
    governed_runs: tuple[int, ...]  # at each point
    governed_misses: int
    point_misses: tuple[int, ...]  # at each point alone


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """The whole trace: as the governor chose, or at one point alone.

    `busy_s` is what all runs took, each divided by what the span's load leaves of the processor.
    `energy_j` is no measurement of the trace: it adds up what a run at each point was measured to
    take.
    """

    name: str
    runs: int
    runs_at: tuple[int, ...]  # each point
    timed_runs: int  # that had a deadline
    misses: int
    unfit: int  # for which no point was expected to meet the deadline; of one point alone, 0
    switches: int
    busy_s: float
    macs: int
    energy_j: float | None


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What was measured of a program's points, and what a trace says of them and of its governor;
    without a trace there are no strategies and no spans.
    """

    model: str
    target: str
    device: str
    cpu: str  # which processor it ran on
    threads: int
    policy: Policy
    points: tuple[PointCosts, ...]
    strategies: tuple[Strategy, ...]  # the governor's first, then the points'
    spans: tuple[SpanOutcome, ...]
    warnings: tuple[str, ...]


def strategies(
    found: RunnerTrace, points: Sequence[PointCosts], spans: Sequence[TraceSpan]
) -> list[Strategy]:
    """The governor's, then that of each point alone."""
    governed = tuple(sum(row) for row in found.governed.runs)
    runs = sum(span.runs for span in spans)
    made = [_strategy(GOVERNOR, found.governed, governed, points, spans)]
    for number, each in enumerate(found.points):
        alone = tuple(runs if other == number else 0 for other in range(len(points)))
        made.append(_strategy(points[number].name, each, alone, points, spans))
    return made


def _strategy(
    name: str,
    became: RunnerOutcomes,
    runs_at: tuple[int, ...],
    points: Sequence[PointCosts],
    spans: Sequence[TraceSpan],
) -> Strategy:
    governed = became if isinstance(became, RunnerGoverned) else None
    energies = [each.energy_j for each in points if each.energy_j is not None]
    return Strategy(
        name=name,
        runs=sum(runs_at),
        runs_at=runs_at,
        timed_runs=sum(span.runs for span in spans if span.deadline_us or span.deadline_percent),
        misses=sum(became.misses),
        unfit=sum(governed.unfit) if governed else 0,
        switches=sum(governed.switches) if governed else 0,
        busy_s=sum(became.busy_ns) * 1e-9,
        macs=sum(count * each.macs for count, each in zip(runs_at, points, strict=True)),
        energy_j=(
            sum(count * each for count, each in zip(runs_at, energies, strict=True))
            if len(energies) == len(points)
            else None
        ),
    )


def outcomes(
    found: RunnerTrace, points: Sequence[PointCosts], spans: Sequence[TraceSpan]
) -> list[SpanOutcome]:
    """What became of every span."""
    return [
        SpanOutcome(
            begin_s=span.begin_s,
            runs=span.runs,
            deadline_us=span.deadline_for(points[0].row.p99_us),
            temperature_c=None if span.temperature_c == UNKNOWN_C else span.temperature_c,
            battery_percent=span.battery_percent,
            load_percent=span.load_percent,
            governed_runs=tuple(row[i] for row in found.governed.runs),
            governed_misses=found.governed.misses[i],
            point_misses=tuple(each.misses[i] for each in found.points),
        )
        for i, span in enumerate(spans)
    ]

"""A replayed trace as a table for people."""

from collections.abc import Iterator

from edgekiln.compiler.trace.report import TraceReport
from edgekiln.runtime.replay_result import Replay, Strategy
from edgekiln.runtime.text import columns, counted, human_seconds, si

PROXY = "BUSY is what all runs take together, which stands for the energy: no meter measured it"


def report_lines(report: TraceReport) -> Iterator[str]:
    """The points, the trace, and what each strategy makes of it; then doubts."""
    replayed = report.replay
    threads = counted(replayed.threads, "thread")
    yield f"{replayed.model} on {replayed.cpu or replayed.device}, {threads}"
    yield ""
    yield from _points(report)
    if report.scores:
        samples = counted(report.scores[0].n, "test sample")
        yield f"scores: {samples} of {report.data}, seed {report.seed}"
    yield ""
    if replayed.strategies:
        yield from _replayed(report)
    if report.cascades:
        yield from _cascades(report)
    yield from (f"warning: {text}" for text in replayed.warnings)


def _replayed(report: TraceReport) -> Iterator[str]:
    replayed, first = report.replay, report.replay.strategies[0]
    span_s = replayed.spans[-1].begin_s - replayed.spans[0].begin_s
    yield (
        f"{report.trace}: {counted(len(replayed.spans), 'span')} over {human_seconds(span_s)}, "
        f"{first.runs:,} runs, {first.timed_runs:,} of them with a deadline"
    )
    yield ""
    yield from _strategies(report)
    yield ""
    if first.energy_j is None:
        yield PROXY
    if first.unfit:
        yield f"for {counted(first.unfit, 'run')} no point was expected to meet the deadline"


def _points(report: TraceReport) -> Iterator[str]:
    scored, metered = bool(report.scores), report.replay.points[0].energy_j is not None
    heading = ("POINT", "MACS", "MEDIAN", "P99", "SPREAD") + ("ENERGY",) * metered
    rows = [heading + ((report.scores[0].heading,) if scored else ())]
    for number, each in enumerate(report.replay.points):
        cells: tuple[str, ...] = (
            each.name, f"{each.macs:,}", si(each.median_s, "s"), si(each.p99_s, "s"),
            f"{each.spread:.1%}",
        )  # fmt: skip
        if metered:
            cells += ("-" if each.energy_j is None else si(each.energy_j, "J"),)
        rows.append(cells + ((str(report.scores[number]),) if scored else ()))
    return columns(rows)


def _strategies(report: TraceReport) -> Iterator[str]:
    replayed = report.replay
    metered = replayed.strategies[0].energy_j is not None
    names = " / ".join(point.name for point in replayed.points)
    heading = ("STRATEGY", "MISSED", "BUSY") + ("ENERGY",) * metered + ("MACS",)
    score = (report.scores[0].heading,) if report.scores else ()
    rows = [(*heading, *score, f"RUNS AT {names}", "SWITCHES")]
    scores = (report.governed, *report.scores) if report.scores else (None,) * len(names)
    for each, its_score in zip(replayed.strategies, scores, strict=False):
        cells: tuple[str, ...] = (each.name, missed(each), f"{each.busy_s:.3g} s")
        if metered:
            cells += ("-" if each.energy_j is None else si(each.energy_j, "J"),)
        cells += (relative(each.macs, replayed),)
        if its_score is not None:
            cells += (str(its_score),)
        rows.append((*cells, " / ".join(f"{n:,}" for n in each.runs_at), f"{each.switches:,}"))
    return columns(rows)


def _cascades(report: TraceReport) -> Iterator[str]:
    """The margins, and what the cascades make of the test split."""
    rows = [("CASCADE", "MARGIN", "ASKED", "ACCURACY", "ALONE", "MACS", "MEDIAN")]
    median_s = {point.name: point.median_s for point in report.replay.points}
    for each in report.cascades:
        codes = "" if each.margin_codes is None else f" ({each.margin_codes} codes)"
        rows.append(
            (
                f"{each.cheap}, then {each.dear}",
                f"{each.margin:.4g}{codes}",
                f"{each.asked:.1%}",
                f"{each.accuracy:.2%}",
                f"{each.dear_accuracy:.2%}",
                f"{each.work:.0%}",
                si(median_s[each.cheap] + each.asked * median_s[each.dear], "s"),
            )
        )
    yield from columns(rows)
    yield "ASKED: for which part the dearest point runs, too; MEDIAN: the points' medians by that"
    yield ""


def missed(strategy: Strategy) -> str:
    """How many deadlines, and which part of them."""
    if not strategy.timed_runs:
        return "-"
    return f"{strategy.misses:,} ({strategy.misses / strategy.timed_runs:.1%})"


def relative(macs: int, replayed: Replay) -> str:
    """Work beside that of the first point alone."""
    most = replayed.strategies[1].macs
    return f"{macs / most:.0%}" if most else "-"

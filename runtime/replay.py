"""A trace replayed on the device: the governor's choices, and beside it every operating point."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from edgekiln.runtime.bench import (
    MAX_SECONDS,
    MIN_SECONDS,
    TRIALS,
    interleave,
    measuring,
    placement,
)
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.device.device import Device
from edgekiln.runtime.engines import ProgramEngine
from edgekiln.runtime.errors import ConfigError, MeasurementError
from edgekiln.runtime.points import names
from edgekiln.runtime.replay_result import PointCosts, Replay, outcomes, strategies
from edgekiln.runtime.results import BenchResult
from edgekiln.runtime.runner_documents import RunnerTrace
from edgekiln.runtime.trace import Policy, TableRow, TraceSpan, runner_text

MAX_COST_US = 16_777_215  # MODEL_MOST_US of governor.h
_MAX_NUMBERS = 170_000  # that a runner says of a trace: boards of a farm send 4 MiB of them


def measure_points(
    opened: ProgramFile,
    *,
    trials: int = TRIALS,
    min_seconds: float = MIN_SECONDS,
    threads: int = 1,
    cpu: int | None = None,
    power: str = "none",
    device: Device,
) -> list[BenchResult]:
    """Latency, and where asked for energy, of every operating point, their trials in turn.
    `device` is held. Raises as `edgekiln.runtime.bench.bench`, and ConfigError: there is one point.
    """
    if len(names(opened.spec)) < 2:
        raise ConfigError(
            f"{opened.path} has one operating point only",
            "build it with several: edgekiln slim, or edgekiln compile --point NAME=FILE.onnx",
        )
    place = placement(threads, cpu, device.affinity())
    engines = [
        ProgramEngine(opened, place, device, point=number)
        for number in range(len(names(opened.spec)))
    ]
    return interleave(engines, device, trials=trials, min_seconds=min_seconds, power=power)


def costs_of(opened: ProgramFile, results: Sequence[BenchResult]) -> tuple[PointCosts, ...]:
    """The governor's table by measurements of every point, in whole units, rounded up.

    Where a later point was measured to take more than an earlier one, the earlier one's row says as
    much.

    Raises:
        MeasurementError: a run takes longer than the governor can count.
    """
    found: list[PointCosts] = []
    p50 = p99 = energy = 0
    called = names(opened.spec)
    for number, each in reversed(list(enumerate(results))):
        p50 = max(p50, math.ceil(each.median_s * 1e6))
        p99 = max(p99, p50, math.ceil(each.p99_s * 1e6))
        energy = max(energy, math.ceil(each.energy.gross_j * 1e6) if each.energy else 0)
        if p99 > MAX_COST_US:
            raise MeasurementError(
                f"{each.model}: a run takes {each.p99_s:.3g} s; the governor counts to 16.7 s",
                "choose points by hand: model_set_point in C, --point on the command line",
            )
        found.append(
            PointCosts(
                name=called[number],
                macs=sum(layer.macs for layer in opened.spec.every_point[number].layers),
                median_s=each.median_s,
                p99_s=each.p99_s,
                spread=each.spread,
                energy_j=each.energy.gross_j if each.energy else None,
                row=TableRow(p50_us=p50, p99_us=p99, energy_uj=energy),
            )
        )
    return tuple(reversed(found))


def replay(
    opened: ProgramFile,
    spans: Sequence[TraceSpan],
    policy: Policy,
    *,
    trials: int = TRIALS,
    min_seconds: float = MIN_SECONDS,
    threads: int = 1,
    cpu: int | None = None,
    power: str = "none",
    device: Device | None = None,
    signers: Path | None = None,
) -> tuple[Replay, list[BenchResult]]:
    """Measure every operating point, then replay the trace by the governor and at each point alone.
    Runs follow each other without a pause; a span's load is not made, but counted. Without spans
    the points are measured, and that is all.

    Raises:
        ConfigError: there is one point only, or the trace takes longer than a day.
        BundleError, DeviceError, MeasurementError: as `edgekiln.runtime.bench.compare`.
    """
    where = measuring(device, signers)
    _check_length(len(names(opened.spec)), len(spans))
    with where:
        results = measure_points(
            opened, trials=trials, min_seconds=min_seconds, threads=threads, cpu=cpu, power=power,
            device=where,
        )  # fmt: skip
        points = costs_of(opened, results)
        seconds = _seconds(points, spans)
        found = None
        if spans:
            with ProgramEngine(opened, placement(threads, cpu, where.affinity()), where) as engine:
                text = runner_text(policy, [each.row for each in points], spans)
                found = engine.replay(text, seconds)
            _check(found, len(points), spans)
    first = results[0]
    return Replay(
        model=opened.spec.name,
        target=opened.spec.target,
        device=first.device,
        cpu=first.machine.cpu,
        threads=threads,
        policy=policy,
        points=points,
        strategies=tuple(strategies(found, points, spans)) if found else (),
        spans=tuple(outcomes(found, points, spans)) if found else (),
        warnings=(*_warnings(points, results), *policy.ignored(spans)),
    ), results


def _check_length(points: int, spans: int) -> None:
    """Raises ConfigError: the runner would say more of the trace than reaches us."""
    most = _MAX_NUMBERS // (4 + 3 * points)
    if spans > most:
        raise ConfigError(
            f"the trace has {spans} spans; with {points} points it may have {most}",
            "say by `runs` how many inferences a span has, or give several files",
        )


def _seconds(points: Sequence[PointCosts], spans: Sequence[TraceSpan]) -> float:
    """About how long the replay takes. Raises ConfigError: too long."""
    of_all = sum(each.p99_s for each in points) + max(each.p99_s for each in points)
    seconds = of_all * sum(span.runs for span in spans)
    if seconds > MAX_SECONDS:
        raise ConfigError(
            f"the trace has {sum(span.runs for span in spans):,} runs, which take "
            f"{seconds / 3600:,.0f} h at all points",
            "say fewer in the column `runs`",
        )
    return seconds


def _check(found: RunnerTrace, points: int, spans: Sequence[TraceSpan]) -> None:
    """Raises MeasurementError: the runner says something of another trace."""
    governed = found.governed
    rows = [governed.misses, governed.busy_ns, governed.unfit, governed.switches, *governed.runs]
    rows += [row for each in found.points for row in (each.misses, each.busy_ns)]
    runs = [sum(column) for column in zip(*governed.runs, strict=False)]
    if (
        any(len(row) != len(spans) for row in rows)
        or not len(found.points) == len(governed.runs) == points
        or runs != [span.runs for span in spans]
    ):
        raise MeasurementError("the runner replayed another trace", "build the bundle again")


def _warnings(points: Sequence[PointCosts], results: Sequence[BenchResult]) -> list[str]:
    """Doubts about the machine, single points by their names, and those that save nothing."""
    found = []
    for text in dict.fromkeys(text for each in results for text in each.warnings):
        doubtful = [
            point.name for point, each in zip(points, results, strict=True) if text in each.warnings
        ]
        of_all = len(doubtful) == len(points)
        found.append(text if of_all else f"{', '.join(doubtful)}: {text}")
    for dearer, cheaper in itertools.pairwise(points):
        if cheaper.median_s >= dearer.median_s:
            found.append(f"{cheaper.name} takes no less time than {dearer.name}")
    return found

"""A bundle against the front of a search: whether a point that was found then is better now."""

from collections.abc import Callable
from dataclasses import dataclass

from edgekiln.compiler.ci.noise import incomparable
from edgekiln.compiler.ci.result import JobResult
from edgekiln.compiler.packaging.report import Score, named
from edgekiln.compiler.sweep.front import SpreadValue, dominates, standard_error
from edgekiln.compiler.sweep.front_document import FrontPoint, FrontResult
from edgekiln.compiler.sweep.measures import ENERGY, Measure


@dataclass(frozen=True, kw_only=True)
class FrontVerdict:
    """What a front says of a bundle."""

    holds: bool
    message: str
    unjudged: bool = False  # the message says why


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """An objective of the bundle, and where a point has the same."""

    own: SpreadValue
    of_point: Callable[[FrontPoint], SpreadValue | None]


def against_front(result: JobResult, front: FrontResult, name: str) -> FrontVerdict:
    """Whether no point of the front is as good as the bundle in all objectives, and better in one
    of them by more than the spreads. All objectives have to be known: what is better in some alone
    may be worse in the others.

    Args:
        name: of the front, in messages.
    """
    if front.target != result.target:
        return _unjudged(f"{name} is of {front.target}, and this is for {result.target}")
    if not front.front:
        return _unjudged(f"{name} has no point that is on the front")
    measures = front.measures[: len(front.objectives)]
    own: list[SpreadValue] = []
    rows: list[list[SpreadValue]] = [[] for _ in front.front]
    for measure in measures:
        compared = _compared(measure, result, front)
        if isinstance(compared, str):
            return _unjudged(f"{measure.name} of {name}: {compared}")
        own.append(compared.own)
        for point, row in zip(front.front, rows, strict=True):
            value = compared.of_point(point)
            if value is None:
                return _unjudged(f"{measure.name} of trial {point.trial}: of other samples")
            row.append(value)
    maximized = [measure.maximized for measure in measures]
    for point, row in zip(front.front, rows, strict=True):
        if dominates(row, own, maximized):
            pairs = zip(measures, row, own, strict=True)
            told = ", ".join(f"{m.told(a.value)} against {m.shown(b.value)}" for m, a, b in pairs)
            message = f"trial {point.trial} of {name} is better: {told}"
            return FrontVerdict(holds=False, message=message)
    told = ", ".join(m.told(value.value) for m, value in zip(measures, own, strict=True))
    return FrontVerdict(
        holds=True, message=f"{told}: none of {len(rows)} points of {name} is better"
    )


def _unjudged(why: str) -> FrontVerdict:
    return FrontVerdict(holds=False, message=why, unjudged=True)


def _compared(measure: Measure, result: JobResult, front: FrontResult) -> _Compared | str:
    """An objective; or why it cannot be compared, in words."""
    if measure.needs == "score":
        return _score(measure, result)
    if measure.noisy:
        return _measured(measure, result, front)
    steps = result.build.steps if result.build else ()
    exact = {
        "bytes": result.program_bytes,
        "arena": result.arena_bytes,
        "sqnr": result.sqnr_db,
        "macs": next((step.macs for step in reversed(steps) if step.macs is not None), None),
    }.get(measure.name)
    if exact is None:
        return "`edgekiln ci` does not know it"
    return _Compared(
        own=SpreadValue.exact(float(exact)), of_point=lambda point: point.values[measure.name]
    )


def _score(measure: Measure, result: JobResult) -> _Compared | str:
    """The metric on the test split, which a front's points have, too."""
    score = named(result.scores, measure.name)
    if score is None or score.is_agreement:
        return "it has no such score"

    def of_point(point: FrontPoint) -> SpreadValue | None:
        found = named(point.test, measure.name)
        return None if found is None or found.n != score.n else _uncertain(found)

    return _Compared(own=_uncertain(score), of_point=of_point)


def _uncertain(score: Score) -> SpreadValue:
    if not score.share:
        return SpreadValue.exact(score.value)
    return SpreadValue.around(score.value, standard_error(score.value, score.n))


def _measured(measure: Measure, result: JobResult, front: FrontResult) -> _Compared | str:
    bench = result.bench
    if bench is None or front.machine is None:
        return result.unmeasured or "it was not measured"
    if reason := incomparable(front.machine, bench.machine):
        return reason
    if measure.name == ENERGY:
        if result.energy is None:
            return result.energy_unmeasured or "it was not measured"
        value, trials = result.energy.gross_j, result.energy.trials_gross_j
    else:
        value, trials = bench.median_s, bench.trial_medians_s
    own = SpreadValue(value=value, low=min((value, *trials)), high=max((value, *trials)))
    return _Compared(own=own, of_point=lambda point: point.values[measure.name])

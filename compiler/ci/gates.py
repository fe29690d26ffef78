"""Gates: what a bundle must hold by itself, and against the baseline. All are judged, none raises.

Exit codes are those of `edgekiln.runtime.errors`: accuracy 6, other limits 11, and 12 for a limit
on something that nobody could measure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from edgekiln.compiler.build.result import Step
from edgekiln.compiler.ci.config import Gates
from edgekiln.compiler.ci.front_gate import against_front
from edgekiln.compiler.ci.matrix import Job
from edgekiln.compiler.ci.noise import change, incomparable
from edgekiln.compiler.ci.result import CiResult, GateVerdict, JobResult
from edgekiln.compiler.packaging.report import Score, leading, named
from edgekiln.compiler.sweep.front_document import FrontResult
from edgekiln.runtime.errors import AccuracyError, EdgeKilnError, GateError, MeasurementError
from edgekiln.runtime.text import microseconds
from edgekiln.runtime.typed import kebab

Number = int | float


def judge(
    jobs: Sequence[tuple[Job, JobResult]],
    baseline: CiResult | None,
    fronts: Mapping[str, FrontResult],
) -> tuple[GateVerdict, ...]:
    """Give a verdict for each gate that is set, on each job that was built.

    Args:
        fronts: those that gates name, by their paths.
    """
    return tuple(
        verdict
        for job, result in jobs
        if result.build is not None
        for verdict in _Judge(job.gates, result, baseline, fronts).verdicts()
    )


class _Judge:
    """Judges the gates of one job."""

    def __init__(
        self,
        gates: Gates,
        result: JobResult,
        baseline: CiResult | None,
        fronts: Mapping[str, FrontResult],
    ) -> None:
        self.gates = gates
        self.fronts = fronts
        self.result = result
        self.baseline = baseline
        self.before = baseline.job(result.id) if baseline else None

    def verdicts(self) -> Iterator[GateVerdict]:
        gates, result = self.gates, self.result
        score = result.score
        yield from self._least_accuracy(score)
        for name, bound in gates.metrics.items():
            yield self._metric(name, bound)
        if result.precision != "float32" or (score and score.is_agreement):
            yield from self._limit(
                "min_sqnr_db", result.sqnr_db, lambda v: f"{v:.1f} dB", "the model was int8 before",
                least=True, error=AccuracyError,
            )  # fmt: skip
        elif gates.min_sqnr_db is not None:
            yield self._skipped("min-sqnr-db", "nothing is quantized")
        yield from self._limit(
            "max_latency_us", result.latency_s, _microseconds, result.unmeasured, per=1e6
        )
        yield from self._limit("max_bytes", result.program_bytes, _bytes)
        yield from self._limit("max_arena_bytes", result.arena_bytes, _bytes)
        yield from self._limit(
            "max_energy_uj", result.energy_j, lambda v: f"{v * 1e6:,.1f} µJ",
            result.energy_unmeasured, per=1e6,
        )  # fmt: skip
        if gates.strict_int8 is not False:
            yield self._strict_int8()
        if gates.front is not None:
            yield self._front(gates.front)
        if self.baseline is not None:  # else the summary says so, once
            yield from self._against_baseline()

    def _against_baseline(self) -> Iterator[GateVerdict]:
        gates, result = self.gates, self.result
        if gates.max_accuracy_drop is not None:
            own = [named(result.scores, name) for name in gates.max_metric_drops]
            for each in leading(result.scores) or (None,):
                if each is None or each not in own:
                    label = each.label if each and each.head else ""
                    yield self._drop("max-accuracy-drop", label, each, gates.max_accuracy_drop)
        for name, allowed in gates.max_metric_drops.items():
            if now := named(result.scores, name):
                yield self._drop("max-metric-drops", name, now, allowed)
            else:
                yield self._unmeasured(f"max-metric-drops.{name}", self._lacks(name))
        if gates.max_slowdown is not None:
            yield self._slowdown(gates.max_slowdown)

    def _least_accuracy(self, score: Score | None) -> Iterator[GateVerdict]:
        """Judge the first score, if it is a share."""
        # The last stage that has no score knows best why.
        steps = reversed(_steps(self.result))
        unscored = next((step.unscored for step in steps if step.unscored), "no score")
        value = None if score is None or score.is_agreement else score.value
        if score and score.is_agreement:
            unscored = "the data has no labels; min-sqnr-db holds the agreement with the float one"
        elif score and (not score.share or score.better == "lower"):
            unscored = f"the metric is {score.heading}: hold it by metrics.{score.metric}"
            value = None
        shown = score.kind.shown if score and score.unit else "{:.2%}".format
        yield from self._limit(
            "min_accuracy", value, shown, unscored, least=True, error=AccuracyError
        )

    def _metric(self, name: str, bound: float) -> GateVerdict:
        """Judge one metric by its own direction."""
        gate, score = f"metrics.{name}", named(self.result.scores, name)
        if score is None or score.is_agreement:
            return self._unmeasured(gate, self._lacks(name))
        kind = score.kind
        high = kind.better == "higher"
        holds = score.value >= bound if high else score.value <= bound
        relation = ("≥" if high else "≤") if holds else ("<" if high else ">")
        message = f"{kind.shown(score.value)} {relation} {kind.shown(bound)}"
        if holds:
            return self._verdict(gate, message)
        return self._failed(gate, message, AccuracyError)

    def _limit(
        self, gate: str, value: Number | None, shown: Callable[[Number], str],
        unmeasured: str = "", *, per: float = 1, least: bool = False,
        error: type[EdgeKilnError] = GateError,
    ) -> Iterator[GateVerdict]:  # fmt: skip
        """Judge `value` by the gate's limit, which is in units of 1 / `per`; nothing if unset."""
        limit: Number | None = getattr(self.gates, gate)
        if limit is None:
            return
        name = kebab(gate)
        if value is None:
            yield self._unmeasured(name, unmeasured)
            return
        bound = limit / per  # not times 1e-6, which is not a millionth
        holds = value >= bound if least else value <= bound
        relation = ("≥" if least else "≤") if holds else ("<" if least else ">")
        message = f"{shown(value)} {relation} {shown(bound)}"
        yield self._verdict(name, message) if holds else self._failed(name, message, error)

    def _strict_int8(self) -> GateVerdict:
        # A job that was built has compiled, so there is one.
        compiled = next(step for step in _steps(self.result) if step.stage == "compile")
        lost = int(compiled.metrics.get("float_operators_quantized") or 0)
        if not lost:
            return self._verdict("strict-int8", "no quantized operator stayed float")
        names = "; ".join(note.removeprefix("float: ") for note in compiled.notes)
        return self._failed("strict-int8", f"{lost} quantized operators stayed float: {names}")

    def _front(self, path: str) -> GateVerdict:
        found = against_front(self.result, self.fronts[path], Path(path).name)
        if found.unjudged:
            return self._unmeasured("front", found.message)
        return (self._verdict if found.holds else self._failed)("front", found.message)

    def _lacks(self, name: str) -> str:
        known = ", ".join(each.label for each in self.result.scores) or "no metric"
        return f"it has {known}, and no {name}"

    def _drop(self, gate: str, name: str, now: Score | None, allowed: float) -> GateVerdict:
        """Judge what was lost of one score. `name` tells several verdicts of a gate apart."""
        gate = f"{gate}.{name}" if name else gate
        before = named(self.before.scores, now.label) if self.before and now else None
        if now is None and self.before and self.before.score:
            return self._unmeasured(gate, "no score here, and one in the baseline")
        if reason := self._incomparable(before, now):
            return self._skipped(gate, reason)
        assert before is not None  # else there was a reason
        assert now is not None
        kind = now.kind
        lost = kind.lost(before.value, now.value)
        unit = " points" if kind.share else " %"
        worse = "−" if kind.better == "higher" else "+"
        message = (
            f"{kind.shown(before.value)} → {kind.shown(now.value)} (n = {now.n}), "
            f"allowed {worse}{allowed:g}{unit}"
        )
        if lost <= allowed:
            return self._verdict(gate, message)
        return self._failed(gate, f"lost {lost:.2f}{unit}: {message}", AccuracyError)

    def _incomparable(self, before: Score | None, now: Score | None) -> str:
        """Why a score cannot be held against the baseline's; "" if it can."""
        if self.before is None or self.before.build is None:
            return "not in the baseline"
        was = before or self.before.score
        if now is None or was is None:
            return "no score " + ("here" if now is None else "in the baseline")
        # Percent of other samples are other percent.
        if (now.label, now.n) != (was.label, was.n):
            return f"{now.label} of {now.n} samples, was {was.label} of {was.n} samples"
        return "the data has no labels" if now.is_agreement else ""

    def _slowdown(self, allowed: float) -> GateVerdict:
        name = "max-slowdown"
        if self.before is None or self.before.build is None:
            return self._skipped(name, "not in the baseline")
        before, now = self.before.bench, self.result.bench
        if before is None or now is None:
            reason = self.result.unmeasured or "the baseline has no latency"
            return self._skipped(name, reason)
        # A faster CPU is no better program.
        if reason := incomparable(before.machine, now.machine):
            return self._skipped(name, reason)
        found = change(before, now)
        message = (
            f"{_microseconds(before.median_s)} → {_microseconds(now.median_s)} "
            f"({found.slowdown:+.1%}, noise ±{found.noise:.1%}), allowed +{allowed:g}%"
        )
        if 100 * found.slowdown <= allowed:
            return self._verdict(name, message)
        if not found.significant:
            return GateVerdict(
                job=self.result.id, gate=name, status="noise",
                message=f"inside the noise, no regression: {message}",
            )  # fmt: skip
        return self._failed(name, message)

    def _unmeasured(self, gate: str, why: str) -> GateVerdict:
        if self.gates.if_unmeasured == "skip":
            return self._skipped(gate, why)
        return self._failed(gate, f"cannot be judged: {why}", MeasurementError)

    def _verdict(self, gate: str, message: str) -> GateVerdict:
        return GateVerdict(job=self.result.id, gate=gate, status="pass", message=message)

    def _skipped(self, gate: str, why: str) -> GateVerdict:
        return GateVerdict(
            job=self.result.id, gate=gate, status="skip", message=f"not judged: {why}"
        )

    def _failed(
        self, gate: str, message: str, error: type[EdgeKilnError] = GateError
    ) -> GateVerdict:
        return GateVerdict(
            job=self.result.id, gate=gate, status="fail", message=message,
            exit_code=error.exit_code,
        )  # fmt: skip


def _steps(result: JobResult) -> tuple[Step, ...]:
    return result.build.steps if result.build else ()


def _microseconds(seconds: Number) -> str:
    return f"{microseconds(seconds)} µs"


def _bytes(count: Number) -> str:
    return f"{count:,.0f} bytes"

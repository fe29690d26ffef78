"""What differs between two bundles, or between two runs' results, and whether it means anything."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from edgekiln.compiler.ci import lock, result
from edgekiln.compiler.ci.noise import change, incomparable
from edgekiln.compiler.ci.result import CiResult, JobResult
from edgekiln.compiler.packaging.report import Score
from edgekiln.models.tasks.metric import Better
from edgekiln.runtime.bundle import Bundle
from edgekiln.runtime.errors import BundleError, ConfigError
from edgekiln.runtime.manifest import REBUILD_HINT
from edgekiln.runtime.typed import from_table, kebab

Value = float | str | None
CONFIDENCE = 1.96  # standard errors that 95 % of a normal distribution lie within


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What one quantity was and is; null where one side has none."""

    subject: str  # a job, a file in the bundle, a stage
    quantity: str
    before: float | str | None
    after: float | str | None
    relative: float | None = None  # after / before - 1
    # Null for what is exact, where every difference is one.
    significant: bool | None = None
    why: str = ""  # what its significance was judged by
    better: Better | None = None  # of a score: which way is better


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that differs."""

    before: str
    after: str
    kind: str  # "bundles" or "results"
    differences: tuple[Difference, ...]


def compare(before: Path, after: Path) -> Comparison:
    """Compare two `.ekb` files, or two `results.json` or the directories that hold them.

    Raises:
        ConfigError: one of each.
        InputError, BundleError: one cannot be read.
    """
    kinds = {path.suffix == ".ekb" for path in (before, after)}
    if len(kinds) > 1:
        raise ConfigError(
            f"{before} and {after} are not of one kind", "compare two bundles, or two results"
        )
    if kinds == {True}:
        found = tuple(_bundles(Bundle.open(before), Bundle.open(after)))
    else:
        found = tuple(_results(result.read(before), result.read(after)))
    return Comparison(
        before=str(before),
        after=str(after),
        kind="bundles" if kinds == {True} else "results",
        differences=found,
    )


def _results(before: CiResult, after: CiResult) -> Iterator[Difference]:
    ids = dict.fromkeys(job.id for each in (before, after) for job in each.jobs)
    for job_id in ids:
        old, new = before.job(job_id), after.job(job_id)
        if old is None or new is None:
            yield _plain(job_id, "job", *("there" if job else None for job in (old, new)))
        else:
            yield from _jobs(old, new)


def _jobs(old: JobResult, new: JobResult) -> Iterator[Difference]:
    failures = [job.failure.message if job.failure else None for job in (old, new)]
    if failures[0] != failures[1]:
        yield _plain(new.id, "failure", *failures)
    hashes = [job.build.targets[0].bundle_sha256 if job.build else None for job in (old, new)]
    if hashes[0] != hashes[1]:
        yield _plain(new.id, "bundle sha256", *hashes)
    yield from _scores(new.id, old.scores, new.scores)
    yield from _latency(old, new)
    yield from _sized(new.id, "code and weights, bytes", old.program_bytes, new.program_bytes)
    yield from _sized(new.id, "arena, bytes", old.arena_bytes, new.arena_bytes)
    counts = [len(job.build.targets[0].float_ops) if job.build else None for job in (old, new)]
    yield from _sized(new.id, "float operations", *counts)


def _scores(
    subject: str, before: tuple[Score, ...], after: tuple[Score, ...]
) -> Iterator[Difference]:
    for label in dict.fromkeys(score.label for score in (*before, *after)):
        old, new = (_labelled(scores, label) for scores in (before, after))
        if len(before) == len(after) == 1:  # another metric, not one more
            old, new = before[0], after[0]
        yield from _score(subject, old, new)
        if len(before) == len(after) == 1:
            return


def _labelled(scores: tuple[Score, ...], label: str) -> Score | None:
    return next((score for score in scores if score.label == label), None)


def _score(subject: str, old: Score | None, new: Score | None) -> Iterator[Difference]:
    if (old and (old.label, old.value, old.n)) == (new and (new.label, new.value, new.n)):
        return
    if old is None or new is None or (old.label, old.n) != (new.label, new.n):
        yield _plain(subject, "score", *(_score_text(score) for score in (old, new)))
        return
    significant, why = None, ""
    if new.metric == "accuracy":
        # Standard error of a difference of two proportions. The samples are the same ones, which
        # makes the true error smaller: what is significant here is so in any case.
        variance = sum(score.value * (1 - score.value) / score.n for score in (old, new))
        error = CONFIDENCE * math.sqrt(variance)
        significant = abs(new.value - old.value) > error
        why = f"n = {new.n}: ±{100 * error:.2f} points at 95 %"
    yield Difference(
        subject=subject, quantity=new.label, before=old.value, after=new.value,
        relative=_relative(old.value, new.value), significant=significant, why=why,
        better=new.better,
    )  # fmt: skip


def _latency(old: JobResult, new: JobResult) -> Iterator[Difference]:
    name = "latency, s"
    if old.bench is None or new.bench is None:
        yield from _sized(new.id, name, old.latency_s, new.latency_s)
        return
    if reason := incomparable(old.bench.machine, new.bench.machine):
        yield Difference(
            subject=new.id, quantity=name, before=old.latency_s, after=new.latency_s,
            significant=False, why=reason,
        )  # fmt: skip
        return
    found = change(old.bench, new.bench)
    yield Difference(
        subject=new.id, quantity=name, before=old.latency_s, after=new.latency_s,
        relative=found.slowdown, significant=found.significant,
        why=f"noise of both: ±{found.noise:.1%}",
    )  # fmt: skip


def _bundles(old: Bundle, new: Bundle) -> Iterator[Difference]:
    before, after = old.program, new.program
    for name in ("name", "target", "isa"):
        if getattr(before, name) != getattr(after, name):
            yield _plain("program", name, getattr(before, name), getattr(after, name))
    for name in ("weights_bytes", "code_bytes", "arena_bytes"):
        label = f"{name.removesuffix('_bytes')}, bytes"
        yield from _sized("program", label, getattr(before, name), getattr(after, name))
    yield from _sized("program", "layers", len(before.layers), len(after.layers))
    floats = [
        {layer.name: layer.op for layer in p.layers if not layer.integer} for p in (before, after)
    ]
    for name in sorted({*floats[0], *floats[1]}):
        if floats[0].get(name) != floats[1].get(name):
            yield _plain(f"layer {name}", "float operation", *(each.get(name) for each in floats))
    yield from _scores("program", *(_reported(bundle) for bundle in (old, new)))
    yield from _provenance(old, new)
    for name in sorted({*old.files, *new.files}):
        yield from _file(name, old.files.get(name), new.files.get(name))


def _provenance(old: Bundle, new: Bundle) -> Iterator[Difference]:
    chains = [lock.stages_of(each) for each in (old, new)]
    # A stage more on one side is held against nothing.
    for before, after in zip_longest(*chains, fillvalue={}):
        stage = str({**before, **after}["stage"])
        for key, was, now in lock.differences(before, after):
            yield _plain(f"stage {stage}", key, lock.shown(was), lock.shown(now))


def _file(name: str, old: bytes | None, new: bytes | None) -> Iterator[Difference]:
    if old == new:
        return
    if old is not None and new is not None and len(old) == len(new):
        yield Difference(
            subject=f"file {name}", quantity="content", before=len(old), after=len(new),
            why=f"{sum(a != b for a, b in zip(old, new, strict=True)):,} bytes differ",
        )  # fmt: skip
        return
    yield from _sized(f"file {name}", "bytes", *(None if f is None else len(f) for f in (old, new)))


def _reported(bundle: Bundle) -> tuple[Score, ...]:
    """The last scores that the build measured. Raises BundleError where its report is damaged."""
    steps = bundle.manifest.report.get("steps", ())
    try:
        scored = [step for step in steps if step.get("score")]
        if not scored:
            return ()
        each = (scored[-1]["score"], *scored[-1].get("further_scores", ()))
        # A table has no null: what is one, such as the cosine of an accuracy, is left out.
        tables = ({kebab(k): v for k, v in one.items() if v is not None} for one in each)
        scores = tuple(from_table(Score, table, "") for table in tables)
        if fault := next(filter(None, (score.fault for score in scores)), None):
            raise ValueError(fault)
    except (TypeError, AttributeError, ValueError, ConfigError) as error:
        raise BundleError(
            f"{bundle.path}: its report is not as EdgeKiln writes it ({error})", REBUILD_HINT
        ) from error
    return scores


def _sized(
    subject: str, quantity: str, before: float | None, after: float | None
) -> Iterator[Difference]:
    if before != after:
        yield Difference(
            subject=subject, quantity=quantity, before=before, after=after,
            relative=_relative(before, after),
        )  # fmt: skip


def _plain(subject: str, quantity: str, before: Value, after: Value) -> Difference:
    return Difference(subject=subject, quantity=quantity, before=before, after=after)


def _relative(before: float | None, after: float | None) -> float | None:
    return after / before - 1 if before and after is not None else None


def _score_text(score: Score | None) -> str | None:
    return f"{score.label} {score} (n = {score.n})" if score else None

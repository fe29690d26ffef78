"""What no run finds, and whoever reads its results need not look for again."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgekiln.compiler.packaging.report import Score

if TYPE_CHECKING:
    from edgekiln.compiler.ci.result import CiResult, JobResult


def impossible(result: "CiResult") -> Iterator[str]:
    """What is wrong, in words; nothing in the results of a run."""
    for job in result.jobs:
        yield from (f"job {job.id!r}: {fault}" for fault in _job(job))


def impossible_score(score: Score) -> Iterator[str]:
    """The same, of one score."""
    if score.n < 1:
        yield f"{score.label} of {score.n} samples"
    if score.share and not 0 <= score.value <= 1:
        yield f"{score.label} is {score.value:g}, which is no share"


def _job(job: "JobResult") -> Iterator[str]:
    # It is copied to and from folders: a path would lead out of them.
    if job.bundle and ("/" in job.bundle or job.bundle in (".", "..") or "\0" in job.bundle):
        yield f"bundle {job.bundle!r} is no file beside the results"
    if job.build is not None:
        if not job.build.targets:
            yield "was built for no target"
        for step in job.build.steps:
            for score in step.scores:
                yield from impossible_score(score)
    if job.bench is not None and (job.bench.median_s <= 0 or job.bench.spread < 0):
        yield "has a latency that is not above 0"

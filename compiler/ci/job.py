"""The work on one job, in a process of its own: build the bundle, check it, measure it."""

import os
import shutil
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgekiln.compiler.build.bundle_check import check_bundle
from edgekiln.compiler.build.driver import Request, build
from edgekiln.compiler.ci.matrix import Job
from edgekiln.compiler.ci.result import Failure, JobResult
from edgekiln.compiler.ci.timing import timing
from edgekiln.compiler.devices.named import open_device
from edgekiln.compiler.documents.progress import lines
from edgekiln.compiler.environment import doctor
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.remote_store import open_store
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.stages.check import BundleCheck, lasting
from edgekiln.runtime import signature
from edgekiln.runtime.errors import EdgeKilnError

Doing = Literal["build", "check", "bench"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A job, and the directory its bundle lies in, or will."""

    job: Job
    out: Path
    root: Path  # of the machine's own store
    store: str = ""  # URL of the one behind it
    remeasure: bool = False
    key: Path | None = None  # that signs the bundle

    @property
    def bundle(self) -> Path:
        return self.out / self.job.bundle


def empty(job: Job) -> JobResult:
    """The result of a job on which nothing was done yet."""
    return JobResult(
        id=job.id,
        name=job.name,
        model=job.model,
        target=job.target.name,
        precision=job.precision,
    )


def make(task: Task) -> JobResult:
    """Build the bundle and check it. What goes wrong is in the result."""
    _use_store(task)
    result = empty(task.job)
    doing: Doing = "build"
    try:
        result = _build(task, result)
        doing = "check"
        return replace(result, check=_checked(task, result))
    except Exception as error:  # one broken job must not hide the others
        # What computes something else must not be shipped.
        for path in (task.bundle, signature.place(task.bundle)):
            path.unlink(missing_ok=True)
        return replace(result, bundle="", failure=failure_of(error, doing, task.out))


def measure(task: Task, result: JobResult) -> JobResult:
    """Add the latency, or why there is none."""
    _use_store(task)
    try:
        return _timed(task, result)
    except Exception as error:
        return replace(result, failure=failure_of(error, "bench", task.out))


def _use_store(task: Task) -> None:
    """Use the parent's store: a relative path in the environment would be another one here."""
    os.environ["EDGEKILN_STORE"] = str(task.root)


def failure_of(error: Exception, doing: Doing, out: Path) -> Failure:
    """Describe an error: a user's in its own words, one of ours with its traceback printed."""
    if isinstance(error, EdgeKilnError):
        message = lasting(error.message, out)
        return Failure(doing=doing, message=message, hint=error.hint, exit_code=error.exit_code)
    traceback.print_exception(error)
    return Failure(
        doing=doing,
        message=f"{type(error).__name__}: {error}",
        hint="this is a bug of EdgeKiln: report it with the traceback in the log",
        exit_code=1,
    )


def _build(task: Task, result: JobResult) -> JobResult:
    # A directory of its own: the build names the bundle after the program, which other jobs share.
    job, aside = task.job, task.out / f".{task.job.bundle}"
    request = Request(
        model=job.model,
        targets=(job.target,),
        recipe=job.recipe,
        precision=job.precision,
        out=aside,
        # Latency is measured later, by `measure`, when nothing else runs on this machine.
        trial_s=0,
    )
    try:
        built = build(request, open_store(task.store), lambda label: lines(f"{job.id}: {label}"))
        (target,) = built.targets
        Path(target.bundle).replace(task.bundle)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    if task.key:
        signature.sign(task.bundle, task.key)
    # Why there is no latency, `measure` says.
    named = replace(target, bundle=job.bundle, unmeasured="")
    return replace(result, bundle=job.bundle, build=replace(built, targets=(named,)))


def _checked(task: Task, result: JobResult) -> BundleCheck:
    job, store = task.job, open_store(task.store)
    data = job.recipe.data or job.recipe.calibrate
    bundle, seed = _built(task, result), job.recipe.seed
    return check_bundle(bundle, job.target, store, device=job.device, data=data, seed=seed)


def _built(task: Task, result: JobResult) -> Artifact:
    """The bundle where it is shipped from, so that a signature beside it is found."""
    assert result.build is not None
    (target,) = result.build.targets
    return Artifact(
        path=task.bundle, kind="bundle", sha256=target.bundle_sha256, key="", chain=(), metrics={}
    )


def _unmeasurable(job: Job) -> str:
    """Why there will be no latency; "" if there will."""
    if not job.bench_seconds:
        return "bench-seconds = 0"
    if not job.device:
        return doctor.foreign(job.target)
    return "" if open_device(job.device).measures else f"{job.device} emulates"


def _timed(task: Task, result: JobResult) -> JobResult:
    if reason := _unmeasurable(task.job):
        return replace(result, unmeasured=reason, energy_unmeasured=reason)
    found = timing(_built(task, result), task.job, Store(task.root), again=task.remeasure)
    return replace(
        result,
        bench=found.bench,
        energy=found.energy,
        energy_unmeasured=found.energy_unmeasured,
    )

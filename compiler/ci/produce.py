"""A run: jobs built in parallel, measured one by one, judged, and published together."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgekiln.compiler.ci import attest, baseline, config, gates, lock, matrix
from edgekiln.compiler.ci.documents import write_documents
from edgekiln.compiler.ci.job import Task, empty, make, measure
from edgekiln.compiler.ci.matrix import Job
from edgekiln.compiler.ci.publish import replaced
from edgekiln.compiler.ci.result import CiResult, Failure, JobResult
from edgekiln.compiler.pipeline.remote_store import open_store
from edgekiln.compiler.pipeline.worker_pool import WorkerCrash, WorkerPool
from edgekiln.compiler.sweep.front_document import read_front
from edgekiln.runtime.errors import MismatchError
from edgekiln.runtime.signature import require_file
from edgekiln.runtime.text import microseconds

Log = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class CiRequest:
    """What the user asked for."""

    path: Path  # of edgekiln.toml
    out: Path
    parallel: int = 0  # jobs at once; 0: one a CPU
    only: str = "*"
    frozen: bool = False
    baseline: str = ""
    store: str = ""  # URL of the store behind the machine's own
    remeasure: bool = False  # also what this machine has measured before
    key: Path | None = None  # that signs the bundles


def plan(path: Path, only: str = "*") -> tuple[tuple[Job, ...], tuple[Job, ...]]:
    """List all jobs of a configuration, and those that `only` selects. Raises ConfigError."""
    found = matrix.jobs(config.load(path), path.absolute().parent)
    return found, matrix.select(found, only)


def produce(request: CiRequest, log: Log) -> CiResult:
    """Make, judge and publish. What is wrong with a job is in the result: see `result.exit_code`.

    Raises:
        EdgeKilnError: the configuration, baseline or lock is wrong, or nothing can be written.
    """
    # All jobs, too: the lock keeps the others' stages, and the result names what was left out.
    known, chosen = plan(request.path, request.only)
    home = request.path.absolute().parent
    store = _absolute(request.store)
    root = open_store(store).root  # a wrong URL is said before anything runs, and so is a wrong key
    if request.key:
        require_file(request.key, "key")
    lock_path = home / lock.FILE
    locked = lock.read(lock_path) if request.frozen or lock_path.exists() else lock.Lock(jobs={})
    # Before anything is built: a wrong name should not be told after an hour.
    before = baseline.load(request.baseline, home) if request.baseline else None
    named = dict.fromkeys(job.gates.front for job in chosen if job.gates.front is not None)
    fronts = {path: read_front(Path(path))[0] for path in named}
    with replaced(request.out) as directory:
        shared = Task(
            job=chosen[0], out=directory, root=root, store=store,
            remeasure=request.remeasure, key=request.key and request.key.absolute(),
        )  # fmt: skip
        tasks = [replace(shared, job=job) for job in chosen]
        with WorkerPool(request.parallel or len(os.sched_getaffinity(0)), home) as pool:
            results = _make(pool, tasks, log)
        with WorkerPool(1, home) as pool:  # alone, so that building disturbs no measurement
            results = _measure(pool, tasks, results, log)
        chains = {result.id: _chain(directory, result) for result in results if result.bundle}
        if request.frozen:
            results = [_frozen(result, locked, chains) for result in results]
        result = CiResult(
            config=request.path.name,
            baseline=request.baseline,
            jobs=tuple(results),
            verdicts=gates.judge([*zip(chosen, results, strict=True)], before, fronts),
            left_out=tuple(job.id for job in known if job not in chosen),
        )
        for job in results:
            if job.bundle:
                attest.write(directory / job.bundle)
        write_documents(directory, result, before)
    # After all that can fail, so that a lock never names bundles that were not published.
    if not request.frozen:
        lock.update(lock_path, chains, known)
    return result


def _absolute(url: str) -> str:
    """The URL, a directory by its full path: the workers have another current directory."""
    return str(Path(url).absolute()) if url and "://" not in url else url


def _make(pool: WorkerPool, tasks: Sequence[Task], log: Log) -> list[JobResult]:
    """Build and check. Each model's first job goes first: it runs the stages that others share."""
    # Backwards, so that the first job of a name is the one that stays.
    firsts = {task.job.name: index for index, task in reversed([*enumerate(tasks)])}
    order = sorted(range(len(tasks)), key=lambda index: index not in firsts.values())
    results = [empty(task.job) for task in tasks]
    for place, made in pool.run(make, [(tasks[index],) for index in order]):
        index = order[place]
        results[index] = _survived(made, results[index])
        log(_line(results[index]))
    return results


def _measure(
    pool: WorkerPool, tasks: Sequence[Task], results: list[JobResult], log: Log
) -> list[JobResult]:
    measured = list(results)
    # What was refused is not measured: nobody may use it.
    todo = [index for index, result in enumerate(results) if not result.failure]
    for place, made in pool.run(measure, [(tasks[index], results[index]) for index in todo]):
        index = todo[place]
        measured[index] = _survived(made, results[index], doing="bench")
        bench = measured[index].bench
        if bench:
            when = f", measured {bench.measured}" if bench.remembered else ""
            took = f"{microseconds(bench.median_s)} µs ± {bench.spread:.1%}"
            log(f"{measured[index].id}: {took}{when}")
    return measured


def _survived(
    made: JobResult | WorkerCrash, result: JobResult, doing: Literal["build", "bench"] = "build"
) -> JobResult:
    if not isinstance(made, WorkerCrash):
        return made
    hint = "SIGKILL is often a lack of memory: try --jobs 1. Running again goes on where it stood"
    failure = Failure(doing=doing, message=f"the process ended: {made.how}", hint=hint, exit_code=1)
    return replace(result, failure=failure)


def _line(result: JobResult) -> str:
    if result.failure:
        return f"{result.id}: FAILED ({result.failure.doing}): {result.failure.message}"
    assert result.build is not None
    steps = [
        f"{step.stage} {'cached' if step.cached else f'{step.wall_s:.1f} s'}"
        for step in result.build.steps
    ]
    return f"{result.id}: {', '.join(steps)}"


def _chain(directory: Path, result: JobResult) -> tuple[lock.Stage, ...]:
    assert result.build is not None
    return lock.of_bundle(directory / result.bundle, result.build.targets[0].bundle_sha256)


def _frozen(
    result: JobResult, locked: lock.Lock, chains: Mapping[str, tuple[lock.Stage, ...]]
) -> JobResult:
    if result.failure or result.id not in chains:
        return result
    try:
        lock.compare(locked.jobs.get(result.id), chains[result.id])
    except MismatchError as error:
        failure = Failure(
            doing="lock", message=error.message, hint=error.hint, exit_code=error.exit_code
        )
        return replace(result, failure=failure)
    return result

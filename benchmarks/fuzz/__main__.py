"""`python -m edgekiln.benchmarks.fuzz`: damaged inputs by the thousand."""

import json
import os
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import click

from edgekiln.benchmarks.fuzz.kinds import KINDS
from edgekiln.benchmarks.fuzz.run import cases, prepare
from edgekiln.benchmarks.fuzz.seeds import Seeds
from edgekiln.benchmarks.isolated import BAD
from edgekiln.runtime.codec import encode


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), default=[*KINDS])
@click.option("--count", default=1000, show_default=True, help="Run this many cases of each kind.")
@click.option("--seed", default=0, show_default=True, help="Draw the cases by this seed.")
@click.option(
    "--jobs",
    default=os.cpu_count(),
    show_default=True,
    help="Share the work among this many processes.",
)
def main(out: Path, kinds: tuple[str, ...], count: int, seed: int, jobs: int) -> None:
    """Run COUNT cases of each kind; write findings to the directory OUT and count the verdicts.

    Exit with 1 where any is bad. Cases that OUT has already are not run again.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgekiln-fuzz-seeds-") as home:
        seeds = prepare(Path(home))
        workers = []
        for worker in range(jobs):
            # Forked: what `prepare` has imported, and the seeds it has made, are there in each.
            process = os.fork()
            if process == 0:
                _work(out, kinds, count, seed, jobs, worker, seeds)
            workers.append(process)
        died = [process for process in workers if os.waitpid(process, 0)[1]]
    code = _summary(out, kinds, seed, jobs)
    if died:
        click.echo(f"{len(died)} of {jobs} processes died before their last case", err=True)
        code = 1
    sys.exit(code)


def _work(
    out: Path, kinds: tuple[str, ...], count: int, seed: int, jobs: int, worker: int, seeds: Seeds
) -> NoReturn:
    """The share of a worker, a forked process, which ends with it."""
    try:
        for kind in kinds:
            # A worker's numbers go up in steps of `jobs`: its lines say how far it came.
            known = sum(1 for _ in _read(out, kind, seed, worker, jobs))
            numbers = range(worker + known * jobs, count, jobs)
            with _file(out, kind, seed, worker, jobs).open("a", encoding="utf-8") as file:
                for finding in cases(kind, seed, numbers, seeds, out / "inputs"):
                    file.write(json.dumps(encode(finding)) + "\n")
                    # A run that is stopped, or dies, loses the case at hand alone.
                    file.flush()
    except BaseException:
        # No further: what the parent does at its end, such as removing the seeds, is not ours.
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _file(out: Path, kind: str, seed: int, worker: int, jobs: int) -> Path:
    return out / f"{kind}-{seed}-{worker}-of-{jobs}.jsonl"


def _read(out: Path, kind: str, seed: int, worker: int, jobs: int) -> Iterator[dict[str, str]]:
    file = _file(out, kind, seed, worker, jobs)
    if file.exists():
        yield from map(json.loads, file.read_text(encoding="utf-8").splitlines())


def _summary(out: Path, kinds: tuple[str, ...], seed: int, jobs: int) -> int:
    """Print the counts; returns the exit code."""
    bad = 0
    for kind in kinds:
        found = [f for worker in range(jobs) for f in _read(out, kind, seed, worker, jobs)]
        counts = Counter(f["verdict"] for f in found)
        words = ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))
        click.echo(f"{kind}: {len(found)} cases: {words}")
        for finding in found:
            if finding["verdict"] in BAD:
                bad += 1
                click.echo(f"  {finding['verdict']} {finding['number']}: {finding['detail']}")
    return 1 if bad else 0


if __name__ == "__main__":
    main()

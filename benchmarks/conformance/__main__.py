"""`python -m edgekiln.benchmarks.conformance`: ONNX's node tests through the compiler."""

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from edgekiln.benchmarks.conformance import expected, trial
from edgekiln.benchmarks.conformance.cases import FORMS, Form, cases
from edgekiln.benchmarks.conformance.expected import Key
from edgekiln.benchmarks.conformance.trial import Result
from edgekiln.runtime.codec import encode


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--form", "forms", multiple=True, type=click.Choice(FORMS), default=FORMS)
@click.option(
    "--match",
    default="",
    metavar="TEXT,…",
    help="Take the cases with one of these texts in their names (default: all).",
)
@click.option(
    "--sample",
    type=int,
    help="Take this many cases of each form that expected.json lists (default: all).",
)
@click.option(
    "--jobs",
    default=os.cpu_count(),
    show_default=True,
    help="Share the work among this many processes.",
)
@click.option("--update", is_flag=True, help="Write the verdicts to expected.json.")
def main(
    out: Path,
    forms: tuple[Form, ...],
    match: str,
    sample: int | None,
    jobs: int,
    *,
    update: bool,
) -> None:
    """Compile and run every case; write OUT, a line of JSON a case, and count the verdicts.

    Cases that OUT has already are not run again: a run that was stopped goes on. Exit with 1 where
    a case is worse than expected.json says.
    """
    known = {(r.name, r.form) for r in _read(out)}
    wanted = match.split(",")
    sampled = None if sample is None else expected.sample(sample)
    workers = []
    for number in range(jobs):
        # Each worker imports and compiles by itself (`preload`); its cases fork from there.
        worker = os.fork()
        if worker == 0:
            _work(out, forms, wanted, known, (number, jobs), sampled)
            # Without the parent's clean-up, which is the parent's.
            os._exit(0)
        workers.append(worker)
    for worker in workers:
        os.waitpid(worker, 0)
    for form in forms:
        counts = Counter(r.verdict for r in _read(out) if r.form == form)
        total = sum(counts.values())
        click.echo(f"{form}: {total} cases: " + ", ".join(f"{n} {v}" for v, n in counts.items()))
    if update:
        expected.update(_read(out))
    worse = expected.worse(_read(out), expected.read())
    for line in worse:
        click.echo(f"worse: {line}")
    sys.exit(1 if worse else 0)


def _work(
    out: Path,
    forms: tuple[Form, ...],
    wanted: list[str],
    known: set[tuple[str, str]],
    share: tuple[int, int],
    sampled: set[Key] | None,
) -> None:
    """Every `share[1]`-th case, beginning with number `share[0]`."""
    # A store each, so that no worker waits for another's locks.
    with tempfile.TemporaryDirectory(prefix="edgekiln-conformance-store-") as store:
        os.environ["EDGEKILN_STORE"] = store
        trial.preload()
        for form in forms:
            chosen = (c for c in cases(form) if any(text in c.name for text in wanted))
            for index, case in enumerate(chosen):
                # Every worker makes all cases, which is cheap, and takes its share of them.
                if index % share[1] != share[0] or (case.name, case.form) in known:
                    continue
                if sampled is not None and (case.form, case.name) not in sampled:
                    continue
                line = json.dumps(encode(trial.run(case)))
                with out.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")  # one write: lines of two workers do not mix


def _read(out: Path) -> Iterator[Result]:
    if out.exists():
        for line in out.read_text(encoding="utf-8").splitlines():
            yield Result(**json.loads(line))


if __name__ == "__main__":
    main()

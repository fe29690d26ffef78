"""`python -m edgekiln.benchmarks.mutation`: do the tests notice faults of the code?"""

import linecache
import random
import re
import sys
from collections import Counter
from pathlib import Path

import click
import pytest
from cosmic_ray.tools.filters import operators_filter
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult

from edgekiln.benchmarks.mutation.covering import Chosen, changed_lines, covering_tests

CONFIG = Path(__file__).with_name("cosmic-ray.toml")
_SKIPPED = WorkResult(worker_outcome=WorkerOutcome.SKIPPED, output="not in the sample")

# Whether a dataclass is frozen, and what type checkers alone import, changes no result.
_SAYS_NOTHING = re.compile(r"\s*(@dataclass|if TYPE_CHECKING)")

_session = click.argument("session", type=click.Path(exists=True, dir_okay=False))


@click.group()
def main() -> None:
    """Change the code, a fault at a time, and see whether a test notices."""


@main.command()
@_session
@click.option("--count", default=100, show_default=True, help="Mutants of each room.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other mutants.")
def sample(session: str, count: int, seed: int) -> None:
    """Leave COUNT mutants of each room in SESSION, one at a place of the code."""
    operators_filter.main([session, str(CONFIG)])
    with use_db(session) as db:
        places: dict[tuple[str, tuple[int, int]], list[WorkItem]] = {}
        for item in db.pending_work_items:
            spec = _mutation(item)
            if _SAYS_NOTHING.match(_line(spec)):
                continue
            places.setdefault((str(spec.module_path), spec.start_pos), []).append(item)
        chance = random.Random(seed)
        by_room: dict[str, list[WorkItem]] = {}
        for (module, _), items in sorted(places.items(), key=lambda place: place[0]):
            # Sorted: the session has them in no order that could be relied on.
            item = chance.choice(sorted(items, key=lambda i: _mutation(i).operator_name))
            by_room.setdefault(room_of(Path(module)), []).append(item)
        kept = {
            item.job_id
            for items in by_room.values()
            for item in chance.sample(items, min(count, len(items)))
        }
        for item in list(db.pending_work_items):
            if item.job_id not in kept:
                db.set_result(item.job_id, _SKIPPED)
        for room, items in by_room.items():
            click.echo(f"{room}: {min(count, len(items))} of {len(items)} places")


@main.command()
@click.argument("coverage", type=click.Path(exists=True, dir_okay=False))
@click.option("--most", default=60, show_default=True, help="Run no more tests than this.")
def test(coverage: str, most: int) -> None:
    """Run the tests that run the lines which differ from what git has.

    COVERAGE comes from `pytest --cov --cov-context=test`. Exit as pytest does: with 0 when no test
    noticed, or when no test runs those lines.
    """
    tests = [
        name for file, lines in changed_lines() for name in covering_tests(coverage, file, lines)
    ]
    if not tests:
        click.echo("no test runs these lines")
        sys.exit(0)
    chosen = Chosen(tests[:most])
    # Hypothesis finds the same examples every time.
    options = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist",
               "--hypothesis-seed=0"]  # fmt: skip
    code = pytest.main([*options, *chosen.files], plugins=[chosen])
    # Where no test is left, no test has noticed.
    sys.exit(0 if code is pytest.ExitCode.NO_TESTS_COLLECTED else int(code))


@main.command()
@_session
def report(session: str) -> None:
    """Print what came of the mutants, by room, and the diff of each survivor."""
    with use_db(session) as db:
        counts, survivors = _outcomes(db)
    click.echo("| room | mutants | noticed | survived | noticed, % |\n|---|---|---|---|---|")
    for room in sorted({room for room, _ in counts}):
        noticed, survived = counts[room, True], counts[room, False]
        total = noticed + survived
        click.echo(f"| {room} | {total} | {noticed} | {survived} | {100 * noticed / total:.0f} |")
    for diff in survivors:
        click.echo(f"\n{diff}")


def room_of(module: Path) -> str:
    """The folder under which the figures of a module are counted."""
    return "/".join(module.parts[: 2 if module.parts[0] == "compiler" else 1])


def _mutation(item: WorkItem) -> MutationSpec:
    (mutation,) = item.mutations
    return mutation


def _line(spec: MutationSpec) -> str:
    return linecache.getline(str(spec.module_path), spec.start_pos[0])


def _outcomes(db: WorkDB) -> tuple[Counter[tuple[str, bool]], list[str]]:
    """Counts by room and whether it was noticed; the survivors' diffs."""
    items = {item.job_id: item for item in db.work_items}
    counts: Counter[tuple[str, bool]] = Counter()
    survivors = []
    for job, result in db.results:
        if result.worker_outcome is not WorkerOutcome.NORMAL:
            continue
        noticed = result.test_outcome is not TestOutcome.SURVIVED
        counts[room_of(_mutation(items[job]).module_path), noticed] += 1
        if not noticed:
            survivors.append(f"{result.diff}\n{(result.output or '').strip().splitlines()[-1:]}")
    return counts, survivors


if __name__ == "__main__":
    main()

"""What weights of 4 bits and activations of 16 take, beside 8 and floats: the networks of a suite.

    python -m edgekiln.benchmarks.code_bits --target host
    python -m edgekiln.benchmarks.code_bits --target cortex-m4 --only "32×32" --only DS-CNN

Where a program runs here, they take turns in one process, on one thread, and medians of trials are
shown; of another chip its estimated cycles are. SQNR is that of the outputs on validation samples,
against the float model's; KiB are those of the program's weights.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edgekiln.benchmarks.networks import SUITES, Network
from edgekiln.compiler.build.driver import Request
from edgekiln.compiler.build.driver import build as run_build
from edgekiln.compiler.build.recipe import Precision, Recipe
from edgekiln.compiler.documents.progress import progress
from edgekiln.compiler.estimate.measured_reference import runs_here
from edgekiln.compiler.estimate.program import program
from edgekiln.compiler.pipeline.store import Store
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile

# The programs: precision and options of the quantizer, by the name of a column.
_PROGRAMS: dict[str, tuple[Precision, dict[str, int]]] = {
    "8 bits": ("int8", {}),
    "weights of 4": ("int8", {"weight_bits": 4, "accept_sqnr": -200}),
    "activations of 16": ("int8", {"activation_bits": 16}),
    "float32": ("float32", {}),
}
_TRIALS, _TRIAL_S = 9, 0.3


@dataclass(frozen=True, kw_only=True)
class BitsRow:
    """What a network's programs take, in the order of `_PROGRAMS`."""

    costs: list[float]  # µs, or cycles
    spread: float  # (max - min) / median of the trials' medians, the largest; 0 of cycles
    sqnr_db: list[float]  # of the integer ones
    weights_bytes: list[int]


def main() -> None:
    """Print a table of Markdown, row by row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="host", help="Build for this profile.")
    parser.add_argument(
        "--only", action="append", default=[], help="Take networks whose name has this text."
    )
    arguments = parser.parse_args()
    others = list(_PROGRAMS)[1:]
    columns = [*_PROGRAMS, *(f"{name} to 8 bits" for name in others)]
    columns += [f"SQNR, {name}" for name in list(_PROGRAMS)[:-1]]
    columns += [*(f"KiB, {name}" for name in list(_PROGRAMS)[:2]), "spread"]
    print(f"| network | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for network in SUITES["x86"]:
        if not arguments.only or any(part in network.name for part in arguments.only):
            with TemporaryDirectory() as folder:
                row = _row(network, arguments.target, Path(folder))
            print(_shown(network.name, row), flush=True)


def _shown(name: str, row: BitsRow) -> str:
    cells = [f"{cost:,.0f}" if cost >= 100 else f"{cost:.1f}" for cost in row.costs]
    cells += [f"{cost / row.costs[0]:.2f}" for cost in row.costs[1:]]
    cells += [f"{each_db:.1f} dB" for each_db in row.sqnr_db]
    cells += [f"{size / 1024:.1f}" for size in row.weights_bytes[:2]]
    return f"| {name} | {' | '.join([*cells, f'{row.spread:.0%}'])} |"


def _row(network: Network, target: str, folder: Path) -> BitsRow:
    bundles, sqnr_db = [], []
    for name, (precision, options) in _PROGRAMS.items():
        recipe = Recipe(data=network.data, skip=("distill", "prune"), options={"quantize": options})
        request = Request(
            model=network.model, targets=(profile.load(target),), recipe=recipe,
            precision=precision, out=folder / name.replace(" ", "-"), trial_s=0.0,
        )  # fmt: skip
        made = run_build(request, Store(), progress)
        bundles.append(Path(made.targets[0].bundle))
        found = [step.metrics["sqnr_db"] for step in made.steps if step.stage == "quantize"]
        sqnr_db += [each_db for each_db in found if each_db is not None]
    sizes = [ProgramFile.open(bundle).spec.weights_bytes for bundle in bundles]
    if not runs_here(ProgramFile.open(bundles[0])):
        cycles = [program(bundle).total.cycles for bundle in bundles]
        return BitsRow(costs=cycles, spread=0.0, sqnr_db=sqnr_db, weights_bytes=sizes)
    medians_s = _timed([AotRunner.open(bundle) for bundle in bundles])
    spreads = [(max(each) - min(each)) / statistics.median(each) for each in medians_s]
    costs = [statistics.median(each) * 1e6 for each in medians_s]
    return BitsRow(costs=costs, spread=max(spreads), sqnr_db=sqnr_db, weights_bytes=sizes)


def _timed(runners: list[AotRunner]) -> list[list[float]]:
    """The median of a call in each trial, in seconds, by runner; these take turns."""
    rng = np.random.default_rng(0)
    given = [
        [rng.random(each.shape).astype(each.dtype) for each in runner.inputs] for runner in runners
    ]
    found: list[list[float]] = [[] for _ in runners]
    for trial in range(_TRIALS + 1):
        for runner, arrays, medians in zip(runners, given, found, strict=True):
            calls = []
            end = time.perf_counter() + _TRIAL_S
            while (begin := time.perf_counter()) < end:
                runner.run(*arrays)
                calls.append(time.perf_counter() - begin)
            if trial:  # the first one warms up
                medians.append(statistics.median(calls))
    return found


if __name__ == "__main__":
    main()

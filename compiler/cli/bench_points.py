"""`edgekiln bench --trace`: all operating points of a bundle, and a day of its governor."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekiln.compiler.cli.options import SEED, FiniteRange, TableText
from edgekiln.compiler.cli.output import print_json
from edgekiln.runtime.trace import Policy

if TYPE_CHECKING:
    from edgekiln.compiler.packaging.report import Score
    from edgekiln.compiler.trace.cascade import Cascade
    from edgekiln.runtime.bundle import ProgramFile

_FILE = click.Path(path_type=Path)

_OPTIONS = (
    click.option(
        "--trace", type=_FILE, metavar="FILE.csv",
        help="Measure all operating points, then replay this day: lines of time_s and of runs, "
        "deadline_us or deadline_percent, energy_uj, temperature_c, battery_percent, "
        "load_percent (default: none).",
    ),
    click.option(
        "--policy", type=TableText(Policy), default=None,
        help="Let the governor mind warm-c, hot-c, low-percent, empty-percent and patience "
        "(default: deadlines and energy alone).",
    ),
    click.option(
        "--data", default="",
        help="Show, too, how good each point is on the test split of this data set (default: "
        "none).",
    ),
    click.option(
        "--seed", type=SEED,
        help="Split --data by this seed (default: the one that BUNDLE was built with, else 0).",
    ),
    click.option(
        "--cascade", type=FiniteRange(min=0), metavar="PP",
        help="Find the margin from which a cheaper point's answer may stand, so that no more than "
        "PP points of accuracy are lost on the validation split of --data (default: do not look).",
    ),
    click.option(
        "--costs", type=_FILE, metavar="FILE.h",
        help="Write what each point takes to this C header, as the governor wants it (default: "
        "none).",
    ),
    click.option(
        "--page", type=_FILE, metavar="FILE.html",
        help="Draw the replayed day to this page (default: none).",
    ),
)  # fmt: skip


def trace_options(command: "click.decorators.FC") -> "click.decorators.FC":
    """The options that are of all points, in this order in the help."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, kw_only=True)
class TraceOptions:
    """What the user says of all points."""

    trace: Path | None
    policy: Policy | None
    data: str
    seed: int | None
    cascade: float | None
    costs: Path | None
    page: Path | None

    @property
    def all_points(self) -> bool:
        """Whether all points shall be measured."""
        return bool(self.trace or self.costs) or self.cascade is not None

    def check(self) -> None:
        """Raises UsageError for what says nothing without another option."""
        given = {
            "--policy": self.policy and not self.all_points,
            "--data": self.data and not self.all_points,
            "--page": self.page and not self.trace,
        }
        for name, alone in given.items():
            if alone:
                raise click.UsageError(f"{name} goes with --trace")
        for name, option in (("--cascade", self.cascade), ("--seed", self.seed)):
            if option is not None and not self.data:
                raise click.UsageError(f"{name} goes with --data")

    def check_places(self, bundle: Path) -> None:
        """Raises StorageError, ConfigError: what is asked for cannot be written where it shall be;
        before anything is measured.
        """
        from edgekiln.compiler.pipeline.atomic_io import check_places

        data = Path(self.data.partition("?")[0])
        read = [bundle, *([data] if self.data else ()), *([self.trace] if self.trace else ())]
        check_places([path for path in (self.costs, self.page) if path], read)


def bench_points(
    bundle: Path, wanted: TraceOptions, *, trials: int, min_seconds: float, threads: int,
    cpu: int | None, power: str, device: str | None, allowed_signers: Path | None, strict: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Measure, replay, print and write what was asked for; nothing is written if one fails."""
    from edgekiln.compiler.devices.named import open_device
    from edgekiln.compiler.pipeline.source_models import seed_of
    from edgekiln.compiler.trace.lines import report_lines
    from edgekiln.compiler.trace.page import trace_page
    from edgekiln.compiler.trace.report import trace_report
    from edgekiln.compiler.trace.table import governor_table
    from edgekiln.runtime.bench import require_quiet
    from edgekiln.runtime.bundle import ProgramFile
    from edgekiln.runtime.replay import replay
    from edgekiln.runtime.trace import read_trace
    from edgekiln.runtime.trust import open_trusted

    written = [(wanted.costs, governor_table), (wanted.page, trace_page)]
    wanted.check_places(bundle)
    # Its answers are computed here, whoever measures its times.
    opened = open_trusted(bundle, allowed_signers) if wanted.data else ProgramFile.open(bundle)
    spans = read_trace(wanted.trace) if wanted.trace else ()
    seed = seed_of(opened) if wanted.seed is None else wanted.seed
    scores, found = _judged(
        opened, wanted, seed
    )  # first: what is wrong with the data is known soon
    replayed, results = replay(
        opened, spans, wanted.policy or Policy(), trials=trials, min_seconds=min_seconds,
        threads=threads, cpu=cpu, power=power,
        device=open_device(device, bundle) if device else None, signers=allowed_signers,
    )  # fmt: skip
    if strict:
        require_quiet(results)
    name = wanted.trace.name if wanted.trace else ""
    report = trace_report(name, wanted.data, seed if wanted.data else None, replayed, scores, found)
    _write([(path, text(report)) for path, text in written if path])
    if as_json:
        print_json("edgekiln.trace/1", report)
        return
    for line in report_lines(report):
        click.echo(line)
    for path, _ in written:
        if path:
            click.echo(f"wrote {path}")


def _judged(
    opened: "ProgramFile", wanted: TraceOptions, seed: int
) -> "tuple[list[Score], tuple[Cascade, ...]]":
    """How good the points are, and the cascades of them, as far as was asked for."""
    if not wanted.data:
        return [], ()
    from edgekiln.compiler.documents.progress import progress
    from edgekiln.compiler.trace.cascade import cascades
    from edgekiln.compiler.trace.report import scores_of_points

    with progress("evaluate") as advance:
        scores = scores_of_points(opened, wanted.data, seed, advance)
        if wanted.cascade is None:
            return scores, ()
        return scores, cascades(opened, wanted.data, seed, wanted.cascade / 100, advance)


def _write(files: Sequence[tuple[Path, str]]) -> None:
    from edgekiln.runtime.files import folder_for, written_whole

    for path, text in files:
        with folder_for(path), written_whole(path) as stream:
            stream.write(text.encode())

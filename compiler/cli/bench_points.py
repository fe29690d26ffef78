"""`edgekiln bench --trace`: all operating points of a bundle, and a day of its governor."""

from dataclasses import dataclass
from pathlib import Path

import click

from edgekiln.compiler.cli.options import TableText
from edgekiln.compiler.cli.output import print_json
from edgekiln.runtime.trace import Policy

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
    costs: Path | None
    page: Path | None

    @property
    def all_points(self) -> bool:
        """Whether all points shall be measured."""
        return bool(self.trace or self.costs)

    def refuse_others(self) -> None:
        """Raises UsageError for what says nothing where one point is measured."""
        of_all = {"--policy": self.policy, "--data": self.data, "--page": self.page}
        for name, given in of_all.items():
            if given:
                raise click.UsageError(f"{name} goes with --trace")


def bench_points(
    bundle: Path, wanted: TraceOptions, *, trials: int, min_seconds: float, threads: int,
    cpu: int | None, power: str, device: str | None, allowed_signers: Path | None, strict: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Measure, replay, print and write what was asked for; nothing is written if one fails."""
    from edgekiln.compiler.devices.named import open_device
    from edgekiln.compiler.documents.progress import progress
    from edgekiln.compiler.pipeline.atomic_io import check_place
    from edgekiln.compiler.trace.lines import report_lines
    from edgekiln.compiler.trace.page import trace_page
    from edgekiln.compiler.trace.report import scores_of_points, trace_report
    from edgekiln.compiler.trace.table import governor_table
    from edgekiln.runtime.bench import require_quiet
    from edgekiln.runtime.bundle import ProgramFile
    from edgekiln.runtime.files import written_whole
    from edgekiln.runtime.replay import replay
    from edgekiln.runtime.trace import read_trace
    from edgekiln.runtime.trust import open_trusted

    if wanted.page and not wanted.trace:
        raise click.UsageError("--page goes with --trace")
    for place in (wanted.costs, wanted.page):
        if place:
            check_place(place)
    # Its answers are computed here, whoever measures its times.
    opened = open_trusted(bundle, allowed_signers) if wanted.data else ProgramFile.open(bundle)
    spans = read_trace(wanted.trace) if wanted.trace else ()
    scores = []
    if wanted.data:  # first, for what is wrong with the data is known soon
        with progress("evaluate") as advance:
            scores = scores_of_points(opened, wanted.data, 0, advance)
    replayed, results = replay(
        opened, spans, wanted.policy or Policy(), trials=trials, min_seconds=min_seconds,
        threads=threads, cpu=cpu, power=power,
        device=open_device(device, bundle) if device else None, signers=allowed_signers,
    )  # fmt: skip
    if strict:
        require_quiet(results)
    name = wanted.trace.name if wanted.trace else ""
    report = trace_report(name, wanted.data, replayed, scores)
    files = [
        (wanted.costs, governor_table(replayed) if wanted.costs else ""),
        (wanted.page, trace_page(report) if wanted.page else ""),
    ]
    for path, text in files:
        if path:
            with written_whole(path) as stream:
                stream.write(text.encode())
    if as_json:
        print_json("edgekiln.trace/1", report)
        return
    for line in report_lines(report):
        click.echo(line)
    for path, _ in files:
        if path:
            click.echo(f"wrote {path}")

"""`python -m edgekiln.benchmarks`: measure our programs against other engines."""

import sys
from pathlib import Path

import click

from edgekiln.benchmarks import markdown, measure, networks, page, record
from edgekiln.benchmarks.networks import Network
from edgekiln.benchmarks.prepare import Workshop
from edgekiln.compiler.build.recipe import PRECISIONS, Precision
from edgekiln.runtime import host
from edgekiln.runtime.errors import ConfigError, EdgeKilnError


@click.group()
def main() -> None:
    """Measure our programs against other engines."""


@main.command()
@click.option(
    "--suite",
    type=click.Choice(list(networks.SUITES)),
    default="x86",
    show_default=True,
    help="Measure the networks of this suite.",
)
@click.option(
    "--networks",
    "names",
    default="",
    metavar="TEXT,…",
    help="Take the networks whose name has one of these texts (default: all).",
)
@click.option(
    "--precision",
    default=",".join(PRECISIONS),
    show_default=True,
    help="Measure int8, float32 or both.",
)
@click.option(
    "--threads",
    default="1,2",
    show_default=True,
    help="Give every engine these numbers of threads, in turn.",
)
@click.option(
    "--target",
    default="host",
    show_default=True,
    metavar="NAME|FILE.toml",
    help="Build ours for this target.",
)
@click.option(
    "--trials", default=3, show_default=True, help="Run this many trials of each engine, in turn."
)
@click.option(
    "--seconds", default=0.2, show_default=True, help="Let a trial last this many seconds."
)
@click.option(
    "--peers-python",
    multiple=True,
    metavar="PATH",
    help="Look for each peer in this Python first; again for more.",
)
@click.option(
    "--hold",
    is_flag=True,
    help="Hold the peers to the target's instruction set, by what cpuid tells them.",
)
@click.option("--build-only", is_flag=True, help="Prepare everything and time nothing.")
@click.option("--time-only", is_flag=True, help="Time what is prepared and build nothing.")
@click.option(
    "--work",
    default="benchmarks/prepared",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Keep programs and the peers' model files in this directory.",
)
@click.option(
    "--out",
    default="bench-results",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Write the results to this directory.",
)
def run(
    suite: str,
    names: str,
    precision: str,
    threads: str,
    target: str,
    trials: int,
    seconds: float,
    peers_python: tuple[str, ...],
    hold: bool,
    build_only: bool,
    time_only: bool,
    work: Path,
    out: Path,
) -> None:
    """Build the suite, time every engine, write results.json, .md and .html.

    Both halves can be repeated: what is prepared is kept, and results of other networks stay.
    """
    try:
        chosen = _networks(suite, names)
        precisions = tuple(p for p in PRECISIONS if p in precision.split(","))
        pythons = (*peers_python, sys.executable)
        workshop = Workshop(work, target, pythons)
        # Both are asked before anything is built, which takes long.
        rows = () if build_only else record.kept(out, target, held=hold)
        way = _held(workshop) if hold and not build_only else measure.as_it_is
        # All of it before anything is timed: compilers and converters would disturb what runs
        # beside them.
        if not time_only:
            for network in chosen:
                prepared = workshop.prepare(network)
                missing = ", ".join(f"{a.engine} {a.precision}" for a in prepared.absent)
                click.echo(f"{network.name}: prepared; without {missing or 'nothing'}", err=True)
        if not build_only:
            counts = [int(count) for count in threads.split(",")]
            from edgekiln.benchmarks import peak

            found = record.Results(
                machine=host.machine(), target=target, held=hold, trials=trials,
                seconds=seconds, peaks=peak.peaks(target), rows=rows,
            )  # fmt: skip
            _time(workshop, chosen, precisions, counts, found, way, out)
    except EdgeKilnError as error:
        click.echo(f"error: {error.message}\n hint: {error.hint}", err=True)
        sys.exit(error.exit_code)


def _networks(suite: str, names: str) -> list[Network]:
    wanted = [name.strip().lower() for name in names.split(",")]
    chosen = [n for n in networks.SUITES[suite] if any(w in n.name.lower() for w in wanted)]
    if not chosen:
        known = ", ".join(network.name for network in networks.SUITES[suite])
        raise ConfigError(f"no network has {names!r} in its name", f"there are: {known}")
    return chosen


def _held(workshop: Workshop) -> measure.Held:
    from edgekiln.benchmarks import held

    workshop.folder.mkdir(parents=True, exist_ok=True)
    code = held.packages_of(workshop.pythons)
    return held.held_to(workshop.target, workshop.folder, code, workshop.pythons)


def _time(
    workshop: Workshop,
    chosen: list[Network],
    precisions: tuple[Precision, ...],
    threads: list[int],
    found: record.Results,
    way: measure.Held,
    out: Path,
) -> None:
    """Time each network, and add its row to what was found before."""
    out.mkdir(parents=True, exist_ok=True)
    # Of all suites, for the file may hold rows of another one.
    order = [network.name for suite in networks.SUITES.values() for network in suite]
    for count in threads:
        for network in chosen:
            row = measure.measure(
                workshop.load(network),
                workshop.home(network),
                precisions=precisions,
                threads=count,
                trials=found.trials,
                seconds=found.seconds,
                held=way,
            )
            found = found.with_row(row, order)
            record.save(out / record.FILE, found)  # what is measured stays
            ratio = row.speedup("int8")
            said = f"{ratio:.2f}× over the fastest int8 peer" if ratio else "measured"
            click.echo(f"{network.name}, {count} threads: {said}", err=True)
    (out / "results.md").write_text(markdown.markdown(found), encoding="utf-8")
    (out / "results.html").write_text(page.page(found), encoding="utf-8")


if __name__ == "__main__":
    main()

"""`edgekiln report`: the results of runs as a page."""

from pathlib import Path

import click

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("runs", metavar="DIR|results.json...", type=FILE, nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=FILE,
    metavar="FILE.html",
    help="Write to this file (default: report.html beside the first of RUNS).",
)
@click.option("--open", "show", is_flag=True, help="Show the page in the browser.")
def report(*, runs: tuple[Path, ...], output: Path | None, show: bool) -> None:
    """Write one self-contained HTML page about a run of `edgekiln ci`.

    The first of RUNS is shown; others, newest first, are its history.
    """
    from edgekiln.compiler.ci.page import page
    from edgekiln.compiler.ci.result import read
    from edgekiln.runtime.files import written_whole

    results = [read(run) for run in runs]
    home = runs[0] if runs[0].is_dir() else runs[0].parent
    path = output or home / "report.html"
    with written_whole(path) as stream:
        stream.write(page(results).encode())
    click.echo(f"wrote {path}")
    if show:
        click.launch(str(path))

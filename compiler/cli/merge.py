"""`edgekiln merge`: the parts of a run that several machines made become one result."""

from pathlib import Path

import click

DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("parts", metavar="DIR...", type=DIRECTORY, nargs=-1, required=True)
@click.option(
    "--out", type=DIRECTORY, default="dist", show_default=True, metavar="DIR",
    help="Write to this directory, which is replaced as a whole.",
)  # fmt: skip
@click.option(
    "--baseline", default="", metavar="DIR|FILE|git:REF",
    help="Compare with these earlier results in the summary (default: none). The gates were "
    "judged in each part.",
)  # fmt: skip
@click.pass_context
def merge(ctx: click.Context, *, parts: tuple[Path, ...], out: Path, baseline: str) -> None:
    """Merge the parts of a run that several machines made with `edgekiln ci --only`.

    The exit code is that of one run of all of them.
    """
    from edgekiln.compiler.ci import baseline as baselines
    from edgekiln.compiler.ci.documents import SUMMARY
    from edgekiln.compiler.ci.merge import merge as merged
    from edgekiln.compiler.ci.result import exit_code

    # There is no configuration here: git:REF is looked up from the current directory.
    before = baselines.load(baseline, Path.cwd()) if baseline else None
    result = merged(parts, out, before)
    click.echo((out / SUMMARY).read_text(encoding="utf-8"), nl=False)
    ctx.exit(exit_code(result))

"""`edgekiln ci`: the matrix of bundles of a project."""

import json
from pathlib import Path

import click

from edgekiln.compiler.cli.options import PROCESSES
from edgekiln.compiler.cli.output import json_option
from edgekiln.compiler.cli.store import store_option

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("config", type=FILE, default=Path("edgekiln.toml"))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default="dist", show_default=True,
    metavar="DIR", help="Write to this directory, which is replaced as a whole at the end.",
)  # fmt: skip
@click.option(
    "--jobs", type=PROCESSES, metavar="N",
    help="Build this many bundles at the same time (default: one a CPU).",
)  # fmt: skip
@click.option(
    "--only",
    default="*",
    metavar="GLOB",
    help="Take the jobs whose MODEL, or MODEL/TARGET/PRECISION, matches (default: all).",
)
@click.option("--frozen", is_flag=True, help="Fail where anything differs from edgekiln.lock.")
@click.option(
    "--baseline", default="", metavar="DIR|FILE|git:REF",
    help="Compare with these earlier results (default: none). git:REF reads "
    "edgekiln.results.json of a commit.",
)  # fmt: skip
@store_option
@click.option(
    "--key",
    type=FILE,
    metavar="FILE",
    help="Sign every bundle by this key, see `edgekiln sign` (default: none is signed).",
)
@click.option(
    "--remeasure", is_flag=True,
    help="Measure again what this machine remembers: the latency of a bundle by its bytes.",
)  # fmt: skip
@click.option(
    "--matrix", is_flag=True, help="Print the jobs for GitHub's strategy.matrix; build nothing."
)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of CONFIG, for editors.")
@json_option
@click.pass_context
def ci(
    ctx: click.Context, *, config: Path, out: Path, jobs: int | None, only: str, frozen: bool,
    baseline: str, store_url: str, key: Path | None, remeasure: bool, matrix: bool, schema: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Build, check, measure and judge every model for every target of CONFIG.

    \b
      [defaults]
      targets = ["host", "x86-64-v3"]
      gates = { min-accuracy = 0.9, max-accuracy-drop = 0.5, max-slowdown = 5 }
      [models.resnet8]
      [[overrides]]
      target = "x86-*"
      gates.max-latency-us = 60

    The bundles, their papers, results.json, summary.md, junit.xml and report.html go to DIR. A
    failed job does not hide the others; the exit code is the first failure's.
    """
    # Before the engine is imported, of which this needs nothing.
    if schema:
        from edgekiln.compiler.ci.schema import config_schema

        click.echo(json.dumps(config_schema(), indent=1, ensure_ascii=False))
        return
    from edgekiln.compiler.ci.documents import SUMMARY
    from edgekiln.compiler.ci.produce import CiRequest, plan, produce
    from edgekiln.compiler.ci.result import exit_code, text_of

    if matrix:
        from edgekiln.compiler.ci.matrix import fan_out

        click.echo(json.dumps(fan_out(plan(config, only)[1])))
        return
    request = CiRequest(
        path=config,
        out=out,
        parallel=jobs or 0,
        only=only,
        frozen=frozen,
        baseline=baseline,
        store=store_url,
        remeasure=remeasure,
        key=key,
    )
    # Progress goes to stderr: stdout is the summary's, or the JSON's, alone.
    result = produce(request, lambda line: click.echo(line, err=True))
    click.echo(text_of(result) if as_json else (out / SUMMARY).read_text("utf-8"), nl=False)
    ctx.exit(exit_code(result))

"""`edgekiln doctor`: what is here, what is missing, and how to get it."""

import click

from edgekiln.compiler.cli.output import columns, json_option, print_json

MARKS = {"ok": "ok", "missing": "MISSING", "wrong": "WRONG"}


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check what builds need.

    The exit code is 5 when a build for this machine cannot work.
    """
    from edgekiln.compiler.environment.doctor import examine
    from edgekiln.runtime.errors import MissingToolError

    checks = examine()
    stops = [check for check in checks if check.stops_the_build]
    if as_json:
        from edgekiln.compiler.cli.documents import Diagnosis

        print_json("edgekiln.doctor/1", Diagnosis(host_builds=not stops, checks=checks))
    else:
        rows = [("AREA", "NAME", "STATUS", "FOUND", "WANTED")]
        for check in checks:
            mark = MARKS[check.status]
            rows.append((check.area, check.name, mark, check.found, check.wanted))
        columns(rows)
        click.echo()
        # One command may mend several things.
        for fix in dict.fromkeys(check.fix for check in checks if check.fix):
            click.echo(f"to mend: {fix}")
        click.echo(
            "builds for this machine cannot work yet" if stops else "builds for this machine work"
        )
    ctx.exit(MissingToolError.exit_code if stops else 0)

"""`edgekiln compare`: what differs between two bundles or two runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekiln.compiler.cli.output import columns, json_option, print_json

if TYPE_CHECKING:
    from edgekiln.compiler.ci.compare import Difference

FILE = click.Path(path_type=Path)
LONGEST = 40  # characters of a value; the JSON holds all


@click.command()
@click.argument("before", metavar="A", type=FILE)
@click.argument("after", metavar="B", type=FILE)
@json_option
def compare(*, before: Path, after: Path, as_json: bool) -> None:
    """Say what differs from A to B, by how much, and whether noise alone could do that.

    Both are bundles (.ekb), or both are results of `edgekiln ci`: DIR or results.json.
    """
    from edgekiln.compiler.ci.compare import compare as run

    result = run(before, after)
    if as_json:
        print_json("edgekiln.compare/1", result)
    elif not result.differences:
        click.echo(f"no difference between the {result.kind}")
    else:
        rows = [("WHAT", "QUANTITY", "A", "B", "CHANGE", "SIGNIFICANT")]
        columns([*rows, *(_row(difference) for difference in result.differences)])


def _row(difference: "Difference") -> tuple[str, ...]:
    verdict = {True: "yes", False: "no", None: ""}[difference.significant]
    return (
        difference.subject,
        difference.quantity + {"higher": " ↑", "lower": " ↓", None: ""}[difference.better],
        _shown(difference.before),
        _shown(difference.after),
        "" if difference.relative is None else f"{difference.relative:+.1%}",
        f"{verdict} ({difference.why})".strip() if difference.why else verdict,
    )


def _shown(value: float | str | None) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else f"{value:,.6g}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"

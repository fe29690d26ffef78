"""What commands print: JSON on stdout for programs, tables for people."""

from collections.abc import Sequence

import click

from edgekiln.runtime import text

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def print_json(schema: str, content: object) -> None:
    """Print a document: a dataclass or mapping, and `schema`, its key in `cli.documents`."""
    from edgekiln.runtime.documents import document

    click.echo(document(schema, content))


def columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows as left-aligned columns."""
    for line in text.columns(rows):
        click.echo(line)

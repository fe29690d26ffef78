"""What commands print: JSON on stdout for programs, tables for people."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def print_json(schema: str, content: Mapping[str, Any]) -> None:
    """`schema` names what it is and its version, e.g. "edgekiln.targets/1"."""
    click.echo(json.dumps({"schema": schema, **content}, indent=2, ensure_ascii=False))


def columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows as left-aligned columns, the last one as long as it likes."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())

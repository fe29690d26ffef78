"""What the README tells people to type exists."""

import re
import shlex
from pathlib import Path

import click
import pytest

from edgekiln.compiler.cli.group import edgekiln

README = Path(__file__).resolve().parent.parent / "README.md"
LINES = re.findall(r"^    (edgekiln [^#\n]+)", README.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("line", [line for line in LINES if "|" not in line])
def test_commands_of_the_readme_have_the_options_it_shows(line: str) -> None:
    name, *arguments = shlex.split(line)[1:]
    context = click.Context(edgekiln)
    command = edgekiln.get_command(context, name)
    assert command is not None, f"no command {name}"
    while isinstance(command, click.Group):
        subcommand, *arguments = arguments
        command = command.get_command(context, subcommand)
        assert command is not None, f"no command {name} {subcommand}"
    command.make_context(name, arguments)  # raises click.UsageError for what it does not know


def test_the_readme_shows_commands() -> None:
    assert len(LINES) > 10

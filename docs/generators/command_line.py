"""The command line's reference, from the commands themselves."""

from collections.abc import Iterator
from inspect import cleandoc

import click

from edgekiln.compiler.cli.group import EPILOG, edgekiln

INTRODUCTION = """# Command line

Every command takes `--help`. Commands that print a table take `--json` for programs, see
[JSON documents](documents.md). Errors go to the standard error stream as two lines, what is wrong
and what to do next; the exit code says what kind it was.
"""
VERBATIM = "\b\n"  # click's own mark of a paragraph that is not to be wrapped


def page() -> str:
    """Markdown: the exit codes, then a section a command, in the order of `edgekiln --help`."""
    codes = cleandoc(EPILOG.removeprefix(VERBATIM)).splitlines()
    parts = [INTRODUCTION, "## Exit codes\n", "| code | meaning |\n|---:|---|"]
    parts[-1] += "".join("\n| {} | {} |".format(*code.split(maxsplit=1)) for code in codes[1:])
    context = click.Context(edgekiln, info_name="edgekiln")
    for name in edgekiln.list_commands(context):
        command = edgekiln.get_command(context, name)
        assert command is not None  # it is in the list
        parts += _sections(command, context, name)
    return "\n\n".join(parts) + "\n"


def _sections(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    context = click.Context(command, parent=parent, info_name=name)
    yield f"## {context.command_path}"
    usage = command.get_usage(context).removeprefix("Usage: ")
    yield f"```text\n{' '.join(usage.split())}\n```"
    yield from map(_paragraph, cleandoc(command.help or "").split("\n\n"))
    yield _options(command, context)
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            child = command.get_command(context, each)
            assert child is not None
            yield from _sections(child, context, each)


def _paragraph(text: str) -> str:
    if text.startswith(VERBATIM):
        return f"```text\n{cleandoc(text.removeprefix(VERBATIM))}\n```"
    return " ".join(text.split())


def _options(command: click.Command, context: click.Context) -> str:
    rows = [
        f"| {_names(option, context)} | {_described(option, context)} |"
        for option in command.get_params(context)
        if isinstance(option, click.Option) and "--help" not in option.opts
    ]
    return "\n".join(["| option | |\n|---|---|", *rows]) if rows else ""


def _names(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if option.is_flag:
        return names
    return f"{names} `{option.make_metavar(context)}`"


def _described(option: click.Option, context: click.Context) -> str:
    """The help and, in brackets, whatever click adds to it: default, range, required."""
    _, text = option.get_help_record(context) or ("", "")
    return " ".join(text.split()).replace("|", "\\|")

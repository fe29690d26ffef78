"""Errors, interruptions and help, as a user meets them."""

import importlib.metadata
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest
from click.testing import Result

from edgekiln.compiler.build.stage_table import STAGES, SUMMARIES
from edgekiln.compiler.cli.group import ALIASES, COMMANDS, edgekiln
from edgekiln.runtime.errors import StorageError
from edgekiln.targets import profile

Cli = Callable[..., Result]


def test_an_error_is_two_lines_and_an_exit_code(cli: Cli) -> None:
    result = cli("targets", "show", "x86-64-v4")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == ("error: no target named 'x86-64-v4'\n hint: did you mean x86-64-v3?\n")


def test_debug_shows_the_traceback_as_well(cli: Cli) -> None:
    result = cli("--debug", "targets", "show", "x86-64-v4")
    assert result.exit_code == 2
    assert "Traceback (most recent call last)" in result.stderr
    assert "error: no target named 'x86-64-v4'" in result.stderr


def test_an_error_without_a_hint_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str) -> Any:
        raise StorageError("no room")

    monkeypatch.setattr(profile, "load", fail)
    result = cli("targets", "show", "x")
    assert (result.exit_code, result.stderr) == (9, "error: no room\n")


LONG = "a" * 300


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("pick", LONG), 3, f"error: {LONG}: File name too long"),
        (
            ("compile", "net.onnx", "-o", LONG),
            9,
            f"error: cannot write {LONG}: File name too long",
        ),
    ],
)
def test_a_path_that_cannot_be_looked_at_is_no_bug(
    cli: Cli, arguments: tuple[str, ...], exit_code: int, said: str
) -> None:
    result = cli(*arguments)
    assert (result.exit_code, result.stderr.splitlines()[0]) == (exit_code, said)


def test_another_error_of_the_system_is_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str) -> Any:
        raise FileNotFoundError(2, "No such file", "ours")

    monkeypatch.setattr(profile, "load", fail)
    with pytest.raises(FileNotFoundError, match="ours"):
        cli("targets", "show", "x")


def test_ctrl_c_says_how_to_go_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_name: str) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(profile, "load", interrupt)
    result = cli("targets", "show", "x")
    assert result.exit_code == 130
    assert result.stderr == "interrupted; run the same command again to resume\n"


def test_a_wrong_option_is_the_parsers_error(cli: Cli) -> None:
    result = cli("build", "resnet8", "--targe", "host")
    assert result.exit_code == 2
    assert "No such option '--targe'" in result.stderr
    assert cli("biuld").exit_code == 2


def test_an_earlier_name_of_a_command_still_works_and_is_not_listed(cli: Cli) -> None:
    listed = cli("--help").output.split()
    assert ALIASES
    for earlier, name in ALIASES.items():
        assert (
            cli(earlier, "--help").output.splitlines()[2:]
            == (cli(name, "--help").output.splitlines()[2:])
        )
        assert name in listed
        assert earlier not in listed


def options_of(command: click.Command, name: str) -> Iterator[tuple[str, click.Option]]:
    """Every option of a command and of the commands below it, by the command's name."""
    context = click.Context(command)
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            below = command.get_command(context, each)
            assert below is not None
            yield from options_of(below, f"{name} {each}")
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option):
            yield name, parameter


def test_every_option_is_described_by_a_sentence() -> None:
    """Not by what only makes sense after the option's name, such as "Of weights."."""
    described = [
        (f"{name} {option.opts[0]}", (option.help or "").split())
        for name, option in options_of(edgekiln, "edgekiln")
    ]
    assert len(described) > 100
    openings = set("As By For From In Instead Of On To With Without".split())
    wrong = [
        option
        for option, words in described
        if len(words) < 3
        or words[0] in openings
        or not words[0][0].isupper()
        or not words[-1].endswith(".")
    ]
    assert wrong == []


def test_every_option_says_what_holds_without_it() -> None:
    """Click shows a default where there is one; where it means something else, the text does."""
    silent = [
        f"{name} {option.opts[0]}"
        for name, option in options_of(edgekiln, "edgekiln")
        if not (option.required or option.is_flag or option.multiple or option.show_default)
        and "default: " not in (option.help or "")
    ]
    assert silent == []


def test_a_range_without_bounds_is_none() -> None:
    """Click prints one as `x<=None`."""
    records = [
        (name, option.get_help_record(click.Context(edgekiln)))
        for name, option in options_of(edgekiln, "edgekiln")
    ]
    assert [record for record in records if "None" in str(record)] == []


def test_help_lists_every_command_and_exit_code(cli: Cli) -> None:
    text = cli("--help").stdout
    for name in COMMANDS:
        assert f"\n  {name} " in text
    assert "130  interrupted" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(cli: Cli, name: str) -> None:
    result = cli(name, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: edgekiln {name} ")


def test_version_is_the_distributions(cli: Cli) -> None:
    version = importlib.metadata.version("edgekiln")
    assert cli("--version").stdout == f"edgekiln, version {version}\n"


def test_every_stage_is_a_command() -> None:
    assert set(STAGES) == set(SUMMARIES) == set(STAGES) & set(COMMANDS)

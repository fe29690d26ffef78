"""Errors, interruptions and help, as a user meets them."""

import importlib.metadata
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from edgekiln.compiler.build.recipe import STAGES
from edgekiln.compiler.cli.group import ALIASES, COMMANDS
from edgekiln.compiler.cli.stages import SUMMARIES
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

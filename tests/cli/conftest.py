"""The command line as a user has it, with a store of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgekiln.compiler.cli.group import edgekiln

Cli = Callable[..., Result]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run `edgekiln ARGS…` in an empty directory; unexpected exceptions fail the test."""
    monkeypatch.setenv("EDGEKILN_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> Result:
        runner = CliRunner()
        result = runner.invoke(edgekiln, [str(each) for each in arguments], prog_name="edgekiln")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke

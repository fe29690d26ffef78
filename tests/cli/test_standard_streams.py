"""Whatever becomes of standard output, the program says so by a documented exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgekiln.compiler.cli.group import EPILOG
from edgekiln.runtime.errors import EXIT_PIPE, StorageError

CLI = "from edgekiln.compiler.cli import main; main()"
PRINTS_LATE = f"import time; from edgekiln.compiler.cli import group; time.sleep(0.5); {CLI}"


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A line of a shell, in which "$@" is the program `edgekiln ARGUMENTS…`."""
    return subprocess.run(
        ["/bin/bash", "-c", command, "bash", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "program", [["-c", CLI, "targets", "list"], ["-m", "edgekiln.runtime", "info", "x.ekb"]]
)
def test_a_closed_standard_output_is_said_in_words(program: list[str]) -> None:
    done = run('"$@" >&-', sys.executable, *program)
    assert done.returncode == StorageError.exit_code
    assert done.stderr == (
        "error: standard output is closed\n hint: to drop what is printed: > /dev/null\n"
    )


def test_a_closed_error_stream_changes_no_answer() -> None:
    done = run('"$@" 2>&-', sys.executable, "-c", CLI, "--version")
    assert (done.returncode, done.stdout[:8]) == (0, "edgekiln")


@pytest.mark.parametrize("arguments", [["schema", "edgekiln.build/1"], ["--help"]])
def test_a_pipe_that_nobody_reads_ends_quietly(arguments: list[str]) -> None:
    program = [sys.executable, "-c", PRINTS_LATE, *arguments]
    done = run('"$@" | true; exit ${PIPESTATUS[0]}', *program)
    assert (done.returncode, done.stderr) == (EXIT_PIPE, "")
    assert f"\n{EXIT_PIPE}  nobody reads what is printed" in EPILOG


def test_a_table_that_nobody_reads_ends_quietly_too(tmp_path: Path) -> None:
    script = tmp_path / "table.py"
    script.write_text(
        "import time\n"
        "from rich.console import Console\n"
        "from edgekiln.runtime.standard_streams import standard_streams\n"
        "time.sleep(0.3)\n"
        "with standard_streams():\n"
        "    Console().print('a table')\n"
    )
    done = run('"$@" | true; exit ${PIPESTATUS[0]}', sys.executable, str(script))
    assert (done.returncode, done.stderr) == (EXIT_PIPE, "")

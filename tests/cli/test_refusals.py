"""What is wrong with a machine or a command is said as such, in one error."""

import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from edgekiln.compiler.cli.group import edgekiln
from edgekiln.compiler.environment import toolchain
from edgekiln.runtime.errors import StorageError
from edgekiln.targets import profile


def test_run_without_an_input_is_refused_as_all_else_is() -> None:
    done = CliRunner().invoke(edgekiln, ["run", "x.ekb", "--json"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "error: run: no input is given\n hint: add --input FILE, or --text TEXT\n"
    )


def test_a_full_folder_for_temporary_files_is_no_missing_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = tmp_path / "cc"
    failing.write_text(
        "#!/bin/sh\necho 'Fatal error: x.o: No such file or directory' >&2\nexit 1\n"
    )
    failing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    host = profile.load("x86-64-v3")
    shutil.copy(failing, tmp_path / host.toolchain.cc)
    assert "cannot link a program" in toolchain._trial(host)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=4096))
    with pytest.raises(StorageError, match=r"no room left in .* where compilers work"):
        toolchain._trial(host)

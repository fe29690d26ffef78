"""Which tests are asked about a fault."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgekiln.benchmarks.mutation.covering import changed_lines, covering_tests

CODE = """\
LIMIT = 3


def double(x):
    return 2 * x


def half(x):
    return x / 2
"""
TESTS = """\
from code_under_test.sums import LIMIT, double, half


def test_double():
    assert double(2) == 4


def test_half():
    assert half(2) == 1
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed project with a record of which test runs which line."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "code_under_test/__init__.py": "",
        "code_under_test/sums.py": CODE,
        "tests/code_under_test/test_sums.py": TESTS,
        "tests/test_others.py": TESTS.replace("def test_", "def test_other_"),
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        subprocess.run(["git", *who, *command], check=True)
    cov = ["--cov=code_under_test", "--cov-context=test", "--cov-report="]
    environment = {"PYTHONPATH": ".", "PATH": "/usr/bin:/bin", "COVERAGE_FILE": ".coverage"}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *cov], check=True,
        env=environment,
    )  # fmt: skip
    return tmp_path


def _covering(project: Path, was: str, now: str) -> list[str]:
    file = project / "code_under_test/sums.py"
    file.write_text(CODE.replace(was, now))
    ((changed, lines),) = changed_lines()
    assert changed == Path("code_under_test/sums.py")
    return covering_tests(".coverage", changed, lines)


def test_a_fault_is_shown_to_the_tests_that_run_its_line_its_own_first(project: Path) -> None:
    assert _covering(project, "2 * x", "3 * x") == [
        "tests/code_under_test/test_sums.py::test_double",
        "tests/test_others.py::test_other_double",
    ]


def test_a_line_that_runs_at_import_is_shown_to_all_tests_of_its_file(project: Path) -> None:
    assert len(_covering(project, "LIMIT = 3", "LIMIT = 4")) == 4

"""The tests that run some lines of the code, from a record of coverage by test."""

import random
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from coverage import CoverageData

_FILE = re.compile(r"^\+\+\+ b/(?P<name>.+)$")
_HUNK = re.compile(r"^@@ -(?P<first>\d+)(,(?P<count>\d+))? \+")


def changed_lines() -> Iterator[tuple[Path, range]]:
    """File and lines, numbered as git has them, of all that was changed since the last commit."""
    diff = subprocess.run(
        ["git", "diff", "-U0", "--no-color", "HEAD"], check=True, capture_output=True, text=True
    ).stdout
    file = Path()
    for line in diff.splitlines():
        if found := _FILE.match(line):
            file = Path(found["name"])
        elif found := _HUNK.match(line):
            # "@@ -first,count +…"; a count of 1 is left out.
            first = int(found["first"])
            yield file, range(first, first + int(found["count"] or 1))


def covering_tests(coverage: str, file: Path, lines: Iterable[int]) -> list[str]:
    """The tests that run one of the lines, as pytest names them, those of the file's room first.

    A line that runs at import, in no test's time, is covered by what runs any line of the file.
    """
    data = CoverageData(coverage)
    data.read()
    (measured,) = [name for name in data.measured_files() if Path(name).as_posix().endswith(
        f"/{file.as_posix()}")] or [""]  # fmt: skip
    by_line = data.contexts_by_lineno(measured) if measured else {}
    tests = _tests(context for line in lines for context in by_line.get(line, []))
    if not tests:
        tests = _tests(context for contexts in by_line.values() for context in contexts)
    own = f"tests/{file.parent.as_posix()}/test_{file.stem}.py"
    room = f"tests/{file.parent.as_posix()}/"
    # Of many tests, any: which were written first says nothing.
    random.Random(0).shuffle(tests)
    return sorted(tests, key=lambda name: (not name.startswith(own), not name.startswith(room)))


def _tests(contexts: Iterable[str]) -> list[str]:
    """pytest-cov's contexts are a test's name and its phase: "tests/a.py::test_b|run"."""
    return sorted({name for context in contexts if (name := context.partition("|")[0])})


class Chosen:
    """A plugin that leaves these tests of all that pytest collects, in this order.

    On a command line a name that is not there would be an error, and some cannot be written there.
    """

    def __init__(self, tests: Iterable[str]) -> None:
        self._places = {name: place for place, name in enumerate(tests)}

    @property
    def files(self) -> list[str]:
        """Where the tests are, each file once."""
        return list(dict.fromkeys(name.partition("::")[0] for name in self._places))

    # After other plugins, which order tests in their own ways.
    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Called by pytest."""
        kept = [item for item in items if item.nodeid in self._places]
        items[:] = sorted(kept, key=lambda item: self._places[item.nodeid])

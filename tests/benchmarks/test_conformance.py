"""ONNX's own operator tests: none is worse than the committed list says, and the list is whole."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from edgekiln.benchmarks.conformance import expected
from edgekiln.benchmarks.conformance.expected import Expected
from edgekiln.benchmarks.conformance.trial import Result

COUNT = "12"  # cases of each form
README = Path(expected.__file__).parents[1] / "README.md"


def result(verdict: str, detail: str = "") -> Result:
    return Result(name="test_add", form="qdq", verdict=verdict, detail=detail)  # type: ignore[arg-type]


def test_no_case_of_a_sample_is_worse_than_on_the_list(tmp_path: Path) -> None:
    command = (
        sys.executable, "-m", "edgekiln.benchmarks.conformance", str(tmp_path / "out.jsonl"),
        "--sample", COUNT, "--jobs", "2",
    )  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "worse: " not in done.stdout
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert len(lines) == int(COUNT) * len(expected.totals(expected.read()))


def test_a_case_that_got_worse_is_named_and_one_that_got_better_is_not() -> None:
    known = {("qdq", "test_add"): Expected(verdict="refused", reason="it has no kernel")}
    assert expected.worse([result("right")], known) == []
    assert expected.worse([result("refused")], known) == []
    (line,) = expected.worse([result("wrong", "off by 3")], known)
    assert line == "qdq test_add: was refused, is wrong: off by 3"
    assert expected.worse([replace(result("crash"), name="test_new")], known) == []


def test_an_update_replaces_what_was_run_and_keeps_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "expected.json"
    refusal = "error: model.onnx: operator Add ('y') is not supported: no kernel\n hint: none"
    expected.update([result("refused", refusal), replace(result("right"), name="test_sub")], file)
    before = expected.read(file)
    assert before["qdq", "test_add"].reason == "operator Add is not supported: no kernel"
    expected.update([result("right")], file)
    assert expected.read(file) == before | {("qdq", "test_add"): Expected(verdict="right")}


def test_the_readme_has_the_totals_of_the_list() -> None:
    text = README.read_text(encoding="utf-8")
    totals = expected.totals(expected.read())
    assert totals
    for form, counts in totals.items():
        bad = counts.total() - counts["right"] - counts["refused"]
        cells = (counts.total(), counts["right"], counts["refused"], bad)
        assert f"| {form} | {' | '.join(f'{cell:,}' for cell in cells)} |" in text

"""Documents of runs that somebody else has written: right, or one error that names the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekiln.compiler.ci import lock
from edgekiln.compiler.ci.compare import compare
from edgekiln.compiler.ci.result import read, text_of
from edgekiln.runtime.errors import BundleError, ConfigError, InputError
from tests.compiler.ci.results import result, run, write_bundle

Change = Callable[[Any], object]
RECORD = {"stage": "quantize", "sha256": "a" * 64, "options": {}}


def written(path: Path, change: Change) -> Path:
    """Results whose JSON `change` has changed."""
    data = json.loads(text_of(run(result())))
    change(data)
    path.write_text(json.dumps(data))
    return path


def of_score(key: str, value: object) -> Change:
    return lambda data: data["jobs"][0]["build"]["steps"][0]["score"].update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_score("n", 0), "accuracy of 0 samples"),
        (of_score("value", 1.5), "accuracy is 1.5, which is no share"),
        (of_score("value", float("nan")), "nan is no number"),  # against it, no loss is one
        (of_score("value", float("inf")), "inf is no number"),
        (lambda data: data["jobs"][0]["build"].update(targets=[]), "was built for no target"),
        (lambda data: data["jobs"][0]["bench"].update(median_s=0), "a latency that is not above 0"),
        (lambda data: data["jobs"][0]["bench"].update(median_s=-1.0), "a latency that is not"),
        (lambda data: data["jobs"].append(data["jobs"][0]), "net/x86-64-v3/int8' is there twice"),
    ],
)
def test_results_that_no_run_has_are_refused(tmp_path: Path, change: Change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(written(tmp_path / "results.json", change))


def test_a_key_that_is_there_twice_is_refused_for_the_last_one_would_win(tmp_path: Path) -> None:
    """As after two changes were merged by hand: without jobs no gate has a baseline."""
    path = tmp_path / "results.json"
    path.write_text(f'{text_of(run(result())).rstrip()[:-1]}, "jobs": []}}')
    with pytest.raises(InputError, match="the key 'jobs' is there twice"):
        read(path)
    path.write_text('{"schema": "edgekiln.lock/2", "jobs": {}, "stages": {}, "jobs": {}}')
    with pytest.raises(ConfigError, match="the key 'jobs' is there twice"):
        lock.read(path)


def test_results_and_locks_of_any_depth_are_refused(tmp_path: Path) -> None:
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    with pytest.raises(InputError, match="nested deeper"):
        read(deep)
    with pytest.raises(ConfigError, match="nested deeper"):
        lock.read(deep)


@pytest.mark.parametrize("stage", [7, [], {}, {"stage": 7}, None])
def test_a_lock_with_a_stage_that_is_none_is_damaged(tmp_path: Path, stage: object) -> None:
    path = tmp_path / lock.FILE
    content = {"schema": lock.SCHEMA, "jobs": {"a": ["s"]}, "stages": {"s": stage}}
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="damaged"):
        lock.read(path)


@pytest.mark.parametrize(
    "record", [{}, {"stage": "x"}, RECORD | {"target": 1.5}, RECORD | {"stage": 3},
               RECORD | {"target": {"name": "x"}, "sha256": []}, RECORD | {"target": {"x": 1}}],
)  # fmt: skip
def test_a_provenance_of_others_is_compared_or_refused(tmp_path: Path, record: Any) -> None:
    a, b = tmp_path / "a.ekb", tmp_path / "b.ekb"
    write_bundle(a, provenance=(RECORD,))
    write_bundle(b, provenance=(record,))
    for pair in ((a, b), (b, a)):
        if record.get("sha256") == []:
            assert compare(*pair).differences
            continue
        with pytest.raises(BundleError, match=r"b\.ekb: its provenance is not as EdgeKiln"):
            compare(*pair)


@pytest.mark.parametrize(
    "steps",
    [
        5, [5], {"a": 1}, [{"score": {"n": 0}}], [{"score": [1]}],
        [{"score": {"value": 2.0, "metric": "accuracy", "n": 1, "of": 1}}],
        [{"score": {"value": 0.5, "metric": "accuracy", "n": 0, "of": 1}}],
        [{"score": {"value": 0.5, "metric": "accuracy", "n": 1, "of": 1, "better": "sideways"}}],
        [{"score": {"value": 0.5, "metric": "accuracy", "n": 1, "of": 1}, "further_scores": 3}],
    ],
)  # fmt: skip
def test_a_report_of_others_is_compared_or_refused(tmp_path: Path, steps: object) -> None:
    a, b = tmp_path / "a.ekb", tmp_path / "b.ekb"
    write_bundle(a)
    write_bundle(b, report={"steps": steps})
    with pytest.raises(BundleError, match=r"b\.ekb: its report is not as EdgeKiln writes it"):
        compare(a, b)

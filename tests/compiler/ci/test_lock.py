"""The lock: what it keeps, and the word for what differs."""

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekiln.compiler.ci import lock
from edgekiln.compiler.ci.lock import Lock, Stage
from edgekiln.compiler.pipeline import locks
from edgekiln.runtime.errors import ConfigError, MismatchError, StorageError
from tests.compiler.ci.results import job


def stage(name: str, output: str, **changes: Any) -> Stage:
    base = {"stage": name, "version": 1, "options": {"seed": 0}, "input": "i", "output": output}
    return base | changes


CHAIN = (stage("quantize", "q"), stage("compile", "c"))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            (stage("quantize", "Q", options={"seed": 1}), stage("compile", "C", input="Q")),
            "stage quantize: options.seed is 1, the lock says 0",
        ),
        (
            (CHAIN[0], stage("compile", "C")),
            'stage compile: output is "C", the lock says "c"',
        ),
        (
            (CHAIN[0], stage("compile", "C", tools={"onnx": "2"})),
            'stage compile: tools is {"onnx": "2"}, the lock says missing',
        ),
        (CHAIN[:1], "stages are quantize, the lock says quantize → compile"),
    ],
)
def test_the_first_stage_that_differs_is_named_and_in_what(
    made: tuple[Stage, ...], message: str
) -> None:
    with pytest.raises(MismatchError) as error:
        lock.compare(CHAIN, made)
    assert error.value.message == message
    assert error.value.exit_code == 7
    assert error.value.hint.endswith("write a new lock: `edgekiln ci` without --frozen")


def test_equal_chains_are_equal_and_a_new_job_is_not_in_the_lock() -> None:
    lock.compare(CHAIN, CHAIN)
    with pytest.raises(MismatchError, match=r"not in edgekiln\.lock"):
        lock.compare(None, CHAIN)


def write(path: Path, made: Lock) -> bool:
    """Whether it is there now, and nothing beside it."""
    known = []
    for each in made.jobs:
        name, target, _ = each.split("/")
        known.append(replace(job(), name=name, target=replace(job().target, name=target)))
    lock.update(path, made.jobs, known)
    return list(path.parent.iterdir()) == [path]


def test_it_is_read_as_it_was_written_and_shared_stages_stand_there_once(tmp_path: Path) -> None:
    written = Lock(jobs={"net/a/int8": CHAIN, "net/b/int8": (CHAIN[0], stage("compile", "d"))})
    path = tmp_path / lock.FILE
    assert write(path, written)
    assert lock.read(path) == written
    assert len(json.loads(path.read_text())["stages"]) == 3


def test_a_lock_of_the_earlier_schema_is_still_read(tmp_path: Path) -> None:
    """It called the jobs cells; the next run writes it anew."""
    written = Lock(jobs={"net/a/int8": CHAIN})
    path = tmp_path / lock.FILE
    assert write(path, written)
    earlier = path.read_text().replace('"jobs":', '"cells":').replace("lock/2", "lock/1")
    path.write_text(earlier)
    assert lock.read(path) == written
    assert write(path, written)
    assert path.read_text() != earlier


def test_jobs_of_other_runs_stay_and_those_no_longer_configured_go() -> None:
    known = job()
    before = Lock(jobs={"net/gone/int8": CHAIN, known.id: CHAIN[:1]})
    assert before.with_jobs({known.id: CHAIN}, [known]).jobs == {known.id: CHAIN}
    assert before.with_jobs({}, [known]).jobs == {known.id: CHAIN[:1]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("{", "damaged"),
        ('{"schema": "edgekiln.lock/2"}', r"damaged \('stages'\)"),
        ('{"schema": "edgekiln.lock/9"}', "this EdgeKiln reads 'edgekiln.lock/2'"),
    ],
)
def test_a_missing_or_damaged_lock_is_said(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / lock.FILE
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        lock.read(path)


def test_what_another_run_wrote_meanwhile_stays(tmp_path: Path) -> None:
    """As of two runs side by side, of which each builds a part: `--only a`, `--only b`."""
    path = tmp_path / lock.FILE
    ours, theirs = (replace(job(), name=name) for name in "ab")
    lock.update(path, {theirs.id: CHAIN}, [ours, theirs])
    lock.update(path, {ours.id: CHAIN[:1]}, [ours, theirs])
    assert lock.read(path).jobs == {theirs.id: CHAIN, ours.id: CHAIN[:1]}


def test_a_lock_that_stays_as_it_is_needs_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / lock.FILE
    known = job()
    lock.update(path, {known.id: CHAIN}, [known])

    def read_only(path: Path, _waiting: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(locks, "exclusive", read_only)
    lock.update(path, {known.id: CHAIN}, [known])
    with pytest.raises(StorageError, match=r"cannot write .*edgekiln\.lock: Read-only"):
        lock.update(path, {known.id: CHAIN[:1]}, [known])

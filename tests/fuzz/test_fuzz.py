"""Damaged inputs, a few of each kind; `python -m edgekiln.benchmarks.fuzz` runs thousands."""

import multiprocessing
import os
from pathlib import Path

import pytest

from edgekiln.benchmarks.fuzz.kinds import KINDS
from edgekiln.benchmarks.fuzz.run import Finding, cases, prepare, whole
from edgekiln.benchmarks.isolated import BAD, Verdict, isolated

COUNT = {"onnx": 60, "quantize": 30, "store": 10}  # of the others: 20


def findings(kind: str, home: Path) -> list[Finding]:
    """Of the whole seeds, then of damaged ones; in a process of its own, for cases fork."""
    reading, writing = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        seeds = prepare(home)
        numbers = range(COUNT.get(kind, 20))
        writing.send([[*whole(kind, seeds)], [*cases(kind, 0, numbers, seeds, home / "bad")]])
        os._exit(0)
    writing.close()
    try:
        answer: list[list[Finding]] = reading.recv()
    finally:
        os.waitpid(child, 0)
    intact, damaged = answer
    assert [f for f in intact if f.verdict != "right"] == []
    return damaged


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_answered_rightly_or_refused_in_words(kind: str, tmp_path: Path) -> None:
    found = findings(kind, tmp_path)
    assert [f for f in found if f.verdict in BAD] == []
    assert all(f.detail for f in found if f.verdict == "refused")


def _traceback() -> tuple[Verdict, str]:
    raise KeyError("nowhere")


def _crash() -> tuple[Verdict, str]:
    os.abort()


def _hang() -> tuple[Verdict, str]:
    while True:
        pass


def _greedy() -> tuple[Verdict, str]:
    return "right", str(len(bytearray(8 << 30)))


def test_the_harness_sees_what_it_must_see() -> None:
    verdict, detail = isolated(_traceback)
    assert verdict == "traceback"
    assert detail.startswith("KeyError: 'nowhere' (test_fuzz.py:")
    assert isolated(_crash)[0] == "crash"
    assert isolated(_hang, seconds=1) == ("hang", "more than 1 s")
    assert isolated(_greedy)[1].startswith("MemoryError")

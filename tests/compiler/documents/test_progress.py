"""Progress off a terminal: news at once, the rest sparsely, and only on stderr."""

import sys
import time

import pytest

from edgekiln.compiler.documents.progress import progress


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("export") as advance:
        advance(1, 2, "half")
    assert capsys.readouterr() == ("", "")


def test_waiting_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("distill") as advance:
        advance(0, 0, "waiting: process 7 on here is making the same")
        advance(0, 0, "waiting: process 7 on here is making the same")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "distill: waiting: process 7 on here is making the same\n"


def test_long_work_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    with progress("distill") as advance:
        for step in range(1, 31):
            now_s += 1.0
            advance(step, 30, f"loss {1 / step:.2f}")
    assert capsys.readouterr().err.splitlines() == [
        "distill: 10/30  loss 0.10",
        "distill: 20/30  loss 0.05",
        "distill: 30/30  loss 0.03",
        "distill: 30.0 s",
    ]


def test_a_terminal_gets_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with progress("distill") as advance:
        advance(3, 10, "loss 0.31")
        time.sleep(0.2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "3/10" in captured.err
    assert "loss 0.31" in captured.err

"""What a search shows while it runs: the front as it grows, on a terminal and in a log."""

import sys
import time

import pytest

from edgekiln.compiler.cli.front_progress import front_progress, picture
from edgekiln.compiler.sweep.measures import COSTS
from edgekiln.compiler.sweep.result import TrialRow

MEASURES = (COSTS["sqnr"], COSTS["bytes"])


def row(number: int, sqnr: float, size: float) -> TrialRow:
    return TrialRow(
        number=number, state="done", holds=True, measures={"sqnr": sqnr, "bytes": size},
        options={}, reason="", wall_s=1,
    )  # fmt: skip


ROWS = (row(0, 10, 1000), row(1, 20, 3000), row(2, 9, 2000))


def test_a_picture_has_the_front_and_the_trials_beside_it() -> None:
    lines = picture(ROWS, MEASURES).splitlines()
    assert "".join(lines).count("●") == 2
    assert "".join(lines).count("·") == 1
    assert lines[1].rstrip().endswith("●"), "the best and largest is at the top right"
    assert "bytes 1,000 B … 3,000 B" in lines[-1]
    assert picture((), MEASURES) == ""


def test_a_picture_of_one_point_is_a_picture() -> None:
    assert picture(ROWS[:1], MEASURES).count("●") == 1


def test_in_a_log_each_point_is_told_once_when_it_joins(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with front_progress(MEASURES) as (_, seen):
        seen(ROWS[:1])
        seen(ROWS)
        seen(ROWS)
    assert capsys.readouterr().err.splitlines() == [
        "search: trial 0 joins the front of 1: sqnr 10 dB, bytes 1,000 B",
        "search: trial 1 joins the front of 2: sqnr 20 dB, bytes 3,000 B",
    ]


def test_a_terminal_gets_a_bar_and_the_picture(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with front_progress(MEASURES) as (advance, seen):
        advance(3, 10, "trial 2: distill")
        seen(ROWS)
        time.sleep(0.4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "3/10" in captured.err
    assert "●" in captured.err

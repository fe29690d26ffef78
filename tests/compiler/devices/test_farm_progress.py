"""What a user sees of a farm's queue, on a terminal and elsewhere."""

import sys
import time

import pytest

from edgekiln.compiler.devices.farm_progress import FarmProgress, place_line
from edgekiln.compiler.documents.progress import progress
from edgekiln.runtime.device.farm_job import FarmJob
from edgekiln.runtime.device.farm_queue import QueuePlace
from edgekiln.runtime.device.farm_view import WaitingJob


def job(user: str, program: str = "x.ekb") -> FarmJob:
    return FarmJob(id="0" * 16, user=user, host="pc", command="bench", program=program, priority=1)


def place(*before: str, running: tuple[FarmJob | None, ...] = ()) -> QueuePlace:
    waiting = [
        WaitingJob(key="rpi5", job=job(user), since_s=0.0, asked=1.0, asked_s=0.0)
        for user in before
    ]
    return QueuePlace(
        key="rpi5", before=tuple(waiting), waiting=len(before) + 2, boards=3, running=running
    )


def test_a_place_names_who_goes_first_and_who_is_at_work() -> None:
    assert place_line(place()) == "next of 2 for rpi5, 3 boards"
    assert place_line(place("ana", running=(job("ben", ""), None))) == (
        "place 2 of 3 for rpi5, 3 boards; before: ana@pc bench x.ekb; "
        "at work: ben@pc bench, somebody"
    )
    assert "before: a@pc bench x.ekb, b@pc bench x.ekb, c@pc bench x.ekb, 2 more" in place_line(
        place(*"abcde")
    )


def test_off_a_terminal_each_change_is_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    shown = FarmProgress()
    shown.served()  # where nothing was waited for
    for before in (("ana", "ben"), ("ana", "ben"), ("ben",)):
        shown.waits(place(*before))
    shown.served()
    shown.lost("board 10.0.0.7:9090: no answer in time")
    captured = capsys.readouterr()
    assert captured.out == ""
    first, second, lost = captured.err.splitlines()
    assert first.startswith("queue: place 3 of 4 for rpi5")
    assert second.startswith("queue: place 2 of 3 for rpi5")
    assert lost == "warning: board 10.0.0.7:9090: no answer in time"


def test_on_a_terminal_the_queue_stands_below_the_bar_that_is_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    shown = FarmProgress()
    with progress("tune") as advance:
        advance(3, 10, "layers")
        shown.waits(place("ana"))
        time.sleep(0.3)
        both = capsys.readouterr()
        shown.lost("board 10.0.0.7:9090: [/b] closed")
        shown.served()
        capsys.readouterr()
        time.sleep(0.3)
        alone = capsys.readouterr().err
    assert both.out == ""
    assert "tune" in both.err
    assert "place 2 of 3 for rpi5, 3 boards; before: ana@pc" in both.err
    assert "tune" in alone
    assert "queue" not in alone


def test_on_a_terminal_a_loss_stays_in_sight(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("tune"):
        FarmProgress().lost("board [/b]: closed")
    assert "warning: board [/b]: closed\n" in capsys.readouterr().err

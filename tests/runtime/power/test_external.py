"""A meter beside the machine: a growing file, and a serial line with two real ends."""

import os
import pty
import threading
import time

import pytest

from edgekiln.runtime.power import external
from edgekiln.runtime.power.external import ExternalMeter
from edgekiln.runtime.power.meter import SensorError

PERIOD_S = 0.02


class Writer:
    """A meter that writes a line every PERIOD_S, in a thread, until the block ends."""

    def __init__(self, write, line, ahead_s=0.0):
        self._write, self._form, self._ahead_s = write, line, ahead_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.wait(PERIOD_S):
            self._write(self._form.format(t=time.time() + self._ahead_s).encode())


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "meter.csv"
    path.touch()
    with path.open("ab", buffering=0) as stream:
        yield path, stream.write


@pytest.fixture
def line():
    ours, theirs = pty.openpty()
    yield os.ttyname(theirs), lambda data: os.write(ours, data)
    os.close(ours)
    os.close(theirs)


def measured(path, seconds=0.3):
    """Mean power over a moment, by our clock."""
    meter = ExternalMeter(path)
    start, before_j = time.time(), meter.energy_j()
    time.sleep(seconds)
    end = time.time()
    joules = meter.energy_j() - before_j
    meter.close()
    return joules / (end - start)


@pytest.mark.parametrize("form", ["{t},5.0\n", "{t}, 5.0, 1.0\n", "{t},2.5,2.0 # V, A\n"])
def test_a_growing_file_is_followed(file, form):
    path, write = file
    write(b"time_s,power_w\n")
    with Writer(write, form):
        assert measured(path) == pytest.approx(5.0, rel=0.2)


def test_the_period_is_the_meters_own(file):
    path, write = file
    now = time.time()
    for index in range(5):
        write(f"{now + 0.25 * index},1\n".encode())
    meter = ExternalMeter(path)
    assert meter.update_period_s == pytest.approx(0.25, rel=1e-3)
    meter.close()


def test_energy_is_the_area_below_the_samples(file):
    path, write = file
    now = time.time()
    for offset, power_w in ((-2.0, 0.0), (-1.0, 10.0), (0.0, 10.0), (100.0, 10.0)):
        write(f"{now + offset},{power_w}\n".encode())
    meter = ExternalMeter(path)
    late = time.time() - now
    assert meter.energy_j() == pytest.approx(15.0 + 10 * late, abs=0.5)
    meter.close()


def test_a_serial_line_with_a_clock_of_its_own_is_aligned(line):
    path, write = line
    with Writer(write, "{t:.6f},3.0\n", ahead_s=-1e6):
        assert measured(path) == pytest.approx(3.0, rel=0.2)


def test_a_meter_that_stopped_is_named(file, monkeypatch):
    monkeypatch.setattr(external, "LINE_TIMEOUT_S", 0.2)
    path, write = file
    for index in range(5):
        write(f"{1000 + index},1\n".encode())
    meter = ExternalMeter(path)
    with pytest.raises(SensorError, match=r"meter\.csv: nothing new for 0 s") as caught:
        meter.energy_j()
    assert "while the benchmark runs" in caught.value.hint
    meter.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no samples"),
        ("time,power\n", "no samples"),
        ("1,2\n2,x\n", "line 2: '2,x'"),
        ("1,2\n2,3,4,5\n", "line 2: '2,3,4,5'"),
        ("2,1\n1,1\n", "line 2: its time is not later"),
    ],
)
def test_what_is_no_meters_file_is_refused(file, monkeypatch, text, message):
    monkeypatch.setattr(external, "LINE_TIMEOUT_S", 0.05)
    path, write = file
    write(text.encode())
    with pytest.raises(SensorError) as caught:
        ExternalMeter(path)
    assert caught.value.message == f"{path}: {message}"


def test_a_missing_file_and_a_strange_device_are_named(tmp_path):
    with pytest.raises(SensorError, match=r"none\.csv: No such file"):
        ExternalMeter(tmp_path / "none.csv")
    with pytest.raises(SensorError, match="/dev/null: not a serial line"):
        ExternalMeter("/dev/null")

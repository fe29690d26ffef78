"""What is given to Android's client: a stand-in for `adb` on PATH is the phone as well.

It checks the form of the client's command line and runs what the phone's shell would be given.
"""

import stat

import pytest

from edgekiln.runtime import bench
from edgekiln.runtime.device import held
from edgekiln.runtime.device.adb import AdbShell
from edgekiln.runtime.device.board import Board
from edgekiln.runtime.device.example import check_example
from edgekiln.runtime.errors import DeviceError, MissingToolError

ADB = """#!/bin/sh
printf '%s\\n' "called $1 $2 $3 $4" >>"$ADB_LOG"
[ "$1" = -s ] || { echo "adb: more than one device/emulator" >&2; exit 1; }
[ "$2" = emulator-5554 ] || { echo "error: device '$2' not found" >&2; exit 1; }
[ "$3 $4" = "shell -T" ] && [ $# = 5 ] || { echo "adb: usage" >&2; exit 1; }
exec sh -c "$5"
"""


@pytest.fixture
def log(tmp_path, monkeypatch):
    program = tmp_path / "bin/adb"
    program.parent.mkdir()
    program.write_text(ADB)
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("ADB_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def test_a_phone_checks_and_measures(log, checkable, tmp_path):
    home = tmp_path / "phone's storage"
    device = Board(AdbShell("emulator-5554", directory=str(home)))
    with device:
        assert check_example(checkable(), device) == ("y",)
    result = bench.bench(checkable(), trials=1, min_seconds=0.05, device=device)
    assert result.device == "adb:emulator-5554"
    assert set(log.read_text().splitlines()) == {"called -s emulator-5554 shell -T"}
    assert sorted(path.name for path in home.iterdir() if len(path.name) != 64) == ["lock"]


@pytest.mark.parametrize(
    ("serial", "words"),
    [("R58M", "error: device 'R58M' not found"), ("", "adb: more than one device/emulator")],
)
def test_the_clients_own_words_are_given(log, monkeypatch, serial, words):
    monkeypatch.setattr(held, "PAUSE_S", 0.01)
    with pytest.raises(DeviceError) as caught, Board(AdbShell(serial)):
        pass
    assert caught.value.message == f"adb:{serial}: connection lost: {words}"
    assert log.read_text().count("called ") == held.ATTEMPTS


def test_a_programs_error_is_not_taken_for_the_clients():
    shell = AdbShell.__new__(AdbShell)
    assert shell.lost(8, "error: made for rpi5, this CPU lacks asimddp\n") is None
    assert shell.lost(1, "error: device offline\n") == "error: device offline"
    assert shell.lost(0, "error: device offline\n") is None


def test_without_a_client_the_package_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingToolError, match="adb is not installed") as caught:
        AdbShell()
    assert caught.value.hint == "sudo apt-get install adb"

"""Boards that answer slowly, by halves, nonsense, or no more: one error each, and in time."""

import os
import platform
import time

import pytest

from edgekiln.runtime.device import lease, shell, ssh
from edgekiln.runtime.device.example import check_example
from edgekiln.runtime.device.shell_device import ShellDevice
from edgekiln.runtime.device.ssh import SshShell
from edgekiln.runtime.errors import DeviceError, MeasurementError

HELD = "echo held; cat > /dev/null"


@pytest.fixture
def open_board(tmp_path, monkeypatch):
    """A board whose client does what a script says; `$what` is the script that it was given."""
    monkeypatch.setattr(lease, "PAUSE_S", 0.0)
    monkeypatch.setattr(ssh, "CONNECT_S", 0.5)
    monkeypatch.setattr(shell, "MOST_PRINTED", 1 << 20)  # less than comes within the time

    def start(script):
        client = tmp_path / "ssh"
        client.write_text(f'#!/bin/sh\nwhat="$*"\n{script}\n')
        client.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return ShellDevice(SshShell("me@board"), timeout_s=0.5)

    return start


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exec sleep 60", "no answer within"),
        ("printf hel; exec sleep 60", "no answer within"),
        ("printf hel", "it printed 'hel', which"),
        ("exec cat /dev/zero", "it printed .*which none of our commands does"),
        ("echo Welcome to the board", "it printed 'Welcome to the board', which"),
        ("kill -9 $$", "cannot use"),
        ("exit 255", "connection lost: ssh said nothing"),
        ("echo Broken pipe >&2; exit 255", "connection lost: Broken pipe"),
        (f'case "$what" in *cpuinfo*) exec sleep 60;; *) {HELD};; esac', "no answer within"),
        (
            f'case "$what" in *cpuinfo*) head -c 99 /dev/zero;; *) {HELD};; esac',
            "does not say what it is",
        ),
        (f'case "$what" in *cpuinfo*) exec cat /dev/zero;; *) {HELD};; esac', "without end"),
        (f'case "$what" in *cpuinfo*) exec cat /dev/zero >&2;; *) {HELD};; esac', "without end"),
        (f'case "$what" in *cpuinfo*) exit 255;; *) {HELD};; esac', "connection lost"),
        (f'case "$what" in *cpuinfo*) kill -9 $$;; *) {HELD};; esac', "does not say what it is"),
    ],
)
def test_a_board_that_does_not_answer_as_it_should_is_one_error(open_board, script, message):
    start = time.monotonic()
    with pytest.raises(DeviceError, match=message) as caught, open_board(script) as device:
        device.machine()
    assert caught.value.exit_code == 13
    assert caught.value.hint
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", "what became of its outputs, but nothing"),
        ("hello", "what became of its outputs, but hello"),
        ('{"schema": 1, "outputs_equal": 0}', "compared 0 of 1 outputs"),
    ],
)
def test_a_shell_that_runs_something_else_than_the_program_checks_nothing(
    open_board, checkable, said, words
):
    uname = f"'\\036architecture\\037{platform.machine()}'"
    cpu = "cat /proc/cpuinfo"
    look = f"printf {uname}; printf '\\036proc/cpuinfo\\037'; {cpu}"
    script = (
        f"case \"$what\" in *cpuinfo*) {look};; *--expect*) echo '{said}';; "
        f"*allowed_signers*) exit 1;; *held*) {HELD};; *) cat > /dev/null;; esac"
    )
    with open_board(script) as device, pytest.raises(MeasurementError, match=words):
        check_example(checkable(), device)

"""Boards that answer slowly, by halves, nonsense, or no more: one error each, and in time."""

import os
import time

import pytest

from edgekiln.runtime.device import lease, ssh
from edgekiln.runtime.device.shell_device import ShellDevice
from edgekiln.runtime.device.ssh import SshShell
from edgekiln.runtime.errors import DeviceError

HELD = "echo held; cat > /dev/null"


@pytest.fixture
def open_board(tmp_path, monkeypatch):
    """A board whose client does what a script says; `$what` is the script that it was given."""
    monkeypatch.setattr(lease, "PAUSE_S", 0.0)
    monkeypatch.setattr(ssh, "CONNECT_S", 0.5)

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
        ("printf hel", "cannot use"),
        ("exec cat /dev/zero", "cannot use"),
        ("echo Welcome to the board", "cannot use"),
        ("kill -9 $$", "cannot use"),
        ("exit 255", "connection lost: ssh said nothing"),
        ("echo Broken pipe >&2; exit 255", "connection lost: Broken pipe"),
        (f'case "$what" in *cpuinfo*) exec sleep 60;; *) {HELD};; esac', "no answer within"),
        (
            f'case "$what" in *cpuinfo*) head -c 99 /dev/zero;; *) {HELD};; esac',
            "does not say what it is",
        ),
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

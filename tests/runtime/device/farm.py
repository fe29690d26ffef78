"""Boards of a farm: a real tracker, and servers in processes of their own."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

KEY = "toy-board"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Board:
    """`python -m edgekiln.runtime serve`, in a process as on a board."""

    def __init__(self, tracker, key, home, *options):
        command = [sys.executable, "-m", "edgekiln.runtime", "serve"]
        command += ["--tracker", f"127.0.0.1:{tracker}", "--key", key, "--port", str(free_port())]
        self.process = subprocess.Popen(
            [*command, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HOME": str(home), "TMPDIR": str(home)},
        )
        self.said = self.process.stdout.readline()
        assert self.said, self.process.stderr.read()
        self.address = re.search(r"at (\S+), for", self.said)[1]

    def children(self):
        below = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in below.read_text().split()]

    def end(self, number=signal.SIGTERM):
        """What it says last."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=30)


def summary(tracker):
    """Addresses of the servers that the tracker knows, by key."""
    from tvm.rpc import TrackerSession

    session = TrackerSession(("127.0.0.1", tracker))
    found = session.summary()["server_info"]
    session.close()
    return [each["key"].removeprefix("server:") for each in found]


def view(tracker):
    """What the tracker knows, as clients see it."""
    from edgekiln.runtime.device.tracker import TrackerConnection

    with TrackerConnection(("127.0.0.1", tracker)) as connection:
        return connection.view()


def user_device(monkeypatch, tracker, key, user, **options):
    """A device of this user's, as `LOGNAME` names them."""
    from edgekiln.runtime.device.rpc import RpcDevice

    with monkeypatch.context() as account:
        account.setenv("LOGNAME", user)
        return RpcDevice("127.0.0.1", tracker, key, **options)


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)

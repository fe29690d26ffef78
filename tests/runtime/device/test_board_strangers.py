"""What strangers and broken clients cannot do to a board's server."""

import contextlib
import re
import shutil
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from edgekiln.runtime.device import lease, messages, wire
from edgekiln.runtime.device.example import check_example
from edgekiln.runtime.device.messages import BoardFault
from edgekiln.runtime.device.rpc import RpcDevice
from edgekiln.runtime.errors import EdgeKilnError
from edgekiln.runtime.signature import sign
from tests.runtime.device.farm import wait_until
from tests.runtime.device.test_board_server import alive, keys  # noqa: F401 a fixture

for module in ("tvm", "tornado", "psutil", "cloudpickle"):
    pytest.importorskip(module)


@pytest.fixture(scope="module")
def own(serve):
    """A board for these tests: its key, where it listens, and itself."""
    board = serve("board-of-strangers")
    address, port = re.search(r"at (\S+):(\d+), for", board.said).groups()
    return "board-of-strangers", (address, int(port)), board


@pytest.fixture
def asked(tracker, own):
    """Ask the board something in a session; the answer's fault."""
    with RpcDevice("127.0.0.1", tracker, own[0]) as device:
        digest = device.put(b"#!/bin/sh\necho on\n")

        def ask(message):
            wire.send(device._session, message)
            answer, _ = wire.receive(device._session, 0)
            if "fault" not in answer:
                return "", digest
            return messages.read(BoardFault, answer["fault"], "the board").message, digest

        yield ask


@pytest.mark.parametrize(
    "message",
    [
        {"verb": "run", "command": ["a" * 64], "timeout_s": 10**400},
        {"verb": "run", "command": ["a" * 64], "timeout_s": "soon"},
        {"verb": "run", "command": [], "timeout_s": 1.0},
        {"verb": "run", "command": [["a"]], "timeout_s": 1.0},
        {"verb": "run"},
        {"verb": "have", "digest": 7},
        {"verb": "admit", "bundle": "a" * 64, "name": ["x"], "signature": ""},
        {"verb": ["run"]},
        {},
    ],
)
def test_what_is_no_request_gets_an_error_and_the_session_goes_on(asked, message):
    fault, digest = asked(message)
    assert fault
    assert asked({"verb": "have", "digest": digest})[0] == ""


def test_a_signature_that_is_no_base64_is_refused(asked):
    _, digest = asked({"verb": "look"})
    for text in ("é", "!", "a"):
        fault, _ = asked({"verb": "admit", "bundle": digest, "name": "x", "signature": text})
        assert fault == "x: the board did not get it whole"


def test_kept_files_that_cannot_be_used_are_sent_again(tracker, own):
    """A folder in the place of a kept file must not end the server."""
    with RpcDevice("127.0.0.1", tracker, own[0]) as device:
        digest = device.put(b"#!/bin/sh\necho kept\n")
        environment = Path(f"/proc/{own[2].process.pid}/environ").read_bytes().split(b"\0")
        home = next(each[5:] for each in environment if each.startswith(b"HOME=")).decode()
        kept = Path(home, ".cache/edgekiln/boards", digest)
        kept.unlink()
        kept.mkdir()
    with RpcDevice("127.0.0.1", tracker, own[0]) as device:
        assert device.run([device.put(b"#!/bin/sh\necho kept\n")], 10.0).stdout == "kept\n"


def test_silent_callers_keep_nobody_waiting(tracker, own):
    """One says nothing, one a byte now and then, many are gone again before they are met."""
    key, address, _ = own
    with contextlib.ExitStack() as opened:
        silent = opened.enter_context(socket.create_connection(address))
        slow = opened.enter_context(socket.create_connection(address))
        slow.sendall(struct.pack(">I", 100))
        for _ in range(100):
            socket.create_connection(address).close()
        start = time.monotonic()
        with RpcDevice("127.0.0.1", tracker, key) as device:
            assert device.machine().cores >= 1
        assert time.monotonic() - start < 18  # each of the two was waited for 10 s
        for caller in (silent, slow):
            caller.settimeout(20)
            assert caller.recv(1) == b""  # sent away


@pytest.mark.parametrize(
    "said",
    [
        struct.pack(">I", 1 << 20) + b'{"a":"' + b"x" * 10_000,
        struct.pack(">I", 9) + b"{" * 9,
        struct.pack(">I", 4) + b'"ab"',
        struct.pack(">I", 13) + b'{"bytes": 0}\n{}',
        struct.pack(">I", 14) + b'{"bytes": 400}',
        b"\xff" * 64,
    ],
)
def test_what_is_no_hello_is_sent_away_at_once(own, said):
    with socket.create_connection(own[1]) as caller:
        caller.settimeout(8)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            caller.sendall(said)
            assert caller.recv(100) == b""


def test_a_client_that_vanished_is_noticed():
    """Without a goodbye, as where power is lost: both ends ask the other one now and then."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        wire.keep_alive(client)
        seconds = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert 0 < seconds <= 60


def test_a_program_cannot_leave_others_running(tracker, own):
    """Also not in a session of their own, which a signal to the program's group does not reach."""
    with RpcDevice("127.0.0.1", tracker, own[0]) as device:
        script = device.put(b"#!/bin/sh\nsetsid sleep 300 & sleep 0.3; echo done\n")
        assert device.run([script], 20.0).stdout == "done\n"
        assert own[2].children() == []


def test_a_second_signal_does_not_break_off_the_cleaning_up(tracker, serve):
    key = "board-in-a-hurry"
    board = serve(key)
    device = RpcDevice("127.0.0.1", tracker, key)
    device.__enter__()
    script = device.put(b"#!/bin/sh\npwd; sleep 300\n")
    wire.send(device._session, {"verb": "run", "command": [script], "timeout_s": 60.0})
    wait_until(board.children)
    (group,) = board.children()
    place = Path(f"/proc/{group}/cwd")
    wait_until(lambda: place.resolve() != Path.cwd())  # the server's, until the program has begun
    session = place.resolve()
    for _ in range(20):
        with contextlib.suppress(ProcessLookupError):
            board.process.send_signal(signal.SIGTERM)
    stdout, stderr = board.process.communicate(timeout=30)
    assert (board.process.returncode, stderr) == (0, "")
    assert stdout == "ended; the tracker no longer gives this machine out\n"
    wait_until(lambda: not alive(group))
    assert not session.exists()
    device.__exit__(None, None, None)


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs ssh-keygen")
def test_no_program_changes_what_was_admitted(tracker, serve, keys, checkable):  # noqa: F811
    """A signed program writes where its client says: not over itself, nor over another one."""
    serve("strict-board-of-strangers", "--allowed-signers", str(keys / "team.pub"))
    writer = b"#!/bin/sh\n[ -n \"$1\" ] && printf '#!/bin/sh\\necho changed\\n' >$1\necho signed\n"
    path = checkable(runner=writer)
    sign(path, keys / "team")
    with RpcDevice("127.0.0.1", tracker, "strict-board-of-strangers") as device:
        with contextlib.suppress(EdgeKilnError):
            check_example(path, device)
        digest = device.put(writer)
        assert device.run([digest, digest], 10.0).stdout == "signed\n"
        assert device.run([digest], 10.0).stdout == "signed\n"


def test_a_message_that_comes_by_drops_is_given_up_in_time():
    ours, theirs = socket.socketpair()
    over = threading.Event()

    def drip():
        with contextlib.suppress(OSError):
            for byte in struct.pack(">I", 100) + b" " * 100:
                theirs.send(bytes([byte]))
                if over.wait(0.1):
                    return

    slow = threading.Thread(target=drip)
    with ours, theirs:
        slow.start()
        ours.settimeout(0.5)
        start = time.monotonic()
        with pytest.raises(lease.ConnectionLost, match="no answer in time"):
            wire.receive(ours, max_bytes=0)
        took_s = time.monotonic() - start
        over.set()
        slow.join()
    assert took_s < 5

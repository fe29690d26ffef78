"""What strangers and broken clients cannot do to a board's server, and boards to their clients."""

import contextlib
import json
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
from edgekiln.runtime.device.farm_status import status_of
from edgekiln.runtime.device.messages import BoardFault
from edgekiln.runtime.device.rpc import RpcDevice
from edgekiln.runtime.device.tracker import TrackerConnection
from edgekiln.runtime.errors import DeviceError, EdgeKilnError
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


UPDATE, SUMMARY, REQUEST, PENDING = 5, 6, 4, 7  # what trackers are asked, by their numbers
BOARD_OF_K = {"key": "server:k", "addr": ["127.0.0.1", 9]}
FARM_OF_K = json.dumps([0, {"queue_info": {}, "server_info": [BOARD_OF_K]}]).encode()


class Liar:
    """Answers every connection as a frame of either protocol: a board by one text after the other,
    a tracker by the text for what it is asked.
    """

    def __init__(self, *, tracker, answers):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._tracker, self._answers = tracker, answers
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._lie, args=(client,), daemon=True).start()

    def _lie(self, client):
        with client, contextlib.suppress(OSError):
            self._lie_to(client)

    def _lie_to(self, client):
        if self._tracker:
            client.recv(4)
            client.sendall(struct.pack("<i", 0x2F271))
            while asked := client.recv(1 << 16):
                answer = self._answers[json.loads(asked[4:])[0]]
                client.sendall(struct.pack("<i", len(answer)) + answer)
            return
        for answer in self._answers:
            if not client.recv(1 << 16):
                return
            client.sendall(struct.pack(">I", len(answer)) + answer)
        client.recv(1 << 16)

    def close(self):
        self._listener.close()


@pytest.fixture
def lying(monkeypatch):
    monkeypatch.setattr(lease, "PAUSE_S", 0.0)
    with contextlib.ExitStack() as opened:

        def start(*, tracker, answers):
            liar = Liar(tracker=tracker, answers=answers)
            opened.callback(liar.close)
            return liar.port

        yield start


@pytest.mark.parametrize(
    "answer",
    [
        b"[" * 50_000, b"7", b"null", b"[0, [1, 2]]", b'[0, ["127.0.0.1", 1e999, "p"]]',
        b'[0, ["127.0.0.1", 70000, "p"]]', b'[0, ["127.0.0.1", 1.5, "p"]]',
        b'[0, ["a..b", 9, "p"]]', b'[0, ["", 0, null]]', b"\xff",
        b'[0, {"queue_info": {"k": {}}, "server_info": []}]',
        b'[0, {"queue_info": {}, "server_info": {"k": 1}}]',
    ],
)  # fmt: skip
def test_a_tracker_that_answers_nonsense_is_one_error(lying, answer):
    sane = {UPDATE: b"0", SUMMARY: FARM_OF_K}
    port = lying(tracker=True, answers={**sane, REQUEST: answer})
    with pytest.raises(DeviceError, match="connection lost"):
        RpcDevice("127.0.0.1", port, "k").__enter__()
    port = lying(tracker=True, answers=dict.fromkeys((UPDATE, SUMMARY, REQUEST, PENDING), answer))
    with pytest.raises(DeviceError, match="connection lost"):
        RpcDevice("127.0.0.1", port, "k").__enter__()
    with pytest.raises(DeviceError):
        status_of(("127.0.0.1", port), {})
    if answer in (b"7", b"null"):
        with pytest.raises(lease.ConnectionLost), TrackerConnection(("127.0.0.1", port)) as opened:
            opened.offered()


def test_a_tracker_whose_name_no_host_can_have_is_one_error(monkeypatch):
    monkeypatch.setattr(lease, "PAUSE_S", 0.0)
    for name in ("a..b", "x" * 70, "é" * 64):
        with pytest.raises(DeviceError, match="connection lost"):
            RpcDevice(name, 9190, "k").__enter__()


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


@pytest.mark.parametrize(
    "answer",
    [
        {}, {"machine": 1}, {"fault": "no"}, {"fault": {"exit_code": "x"}}, {"fault": None},
        {"fault": {"exit_code": 1, "message": {}, "hint": 3}},
    ],
)  # fmt: skip
def test_a_board_that_answers_nonsense_is_one_error(lying, answer):
    frames = [b'{"bytes": 0}', json.dumps({**answer, "bytes": 0}).encode()]
    board = lying(tracker=False, answers=frames)
    known = json.dumps([0, ["127.0.0.1", board, "p"]]).encode()
    port = lying(tracker=True, answers={UPDATE: b"0", SUMMARY: FARM_OF_K, REQUEST: known})
    with pytest.raises(DeviceError, match="sent what is none of EdgeKiln's messages"):
        RpcDevice("127.0.0.1", port, "k").__enter__()

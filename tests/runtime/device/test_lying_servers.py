"""What trackers and boards that answer nonsense cannot do to their clients."""

import contextlib
import json
import socket
import struct
import threading

import pytest

from edgekiln.runtime.device import lease
from edgekiln.runtime.device.farm_status import status_of
from edgekiln.runtime.device.rpc import RpcDevice
from edgekiln.runtime.device.tracker import TrackerConnection
from edgekiln.runtime.errors import DeviceError

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

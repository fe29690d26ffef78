"""A board of a farm: TVM's tracker gives out the boards with a key, one run at a time each.

The board's side is `edgekiln devices serve`, see `board_server`. Runs wait in the tracker's queue,
by priority. The tracker knows no users: keep it inside a trusted network or an ssh tunnel, and let
boards demand signatures.
"""

import base64
import hashlib
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from edgekiln.runtime import codec
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.device import lease, wire
from edgekiln.runtime.device.device import Done
from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.device.tracker import CONNECT_S, TrackerConnection
from edgekiln.runtime.errors import StorageError
from edgekiln.runtime.faults import error_of
from edgekiln.runtime.host import Machine, State
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.runtime.runner import check_machine
from edgekiln.runtime.signature import read_signature

T = TypeVar("T")


class RpcDevice:
    """A board of a key, whichever is free.

    After a lost connection the run goes on on the next free one.
    """

    measures = True
    signers: Path | None = None
    shares_clock = False

    def __init__(
        self, tracker: str, port: int, key: str, *, priority: int = 1, timeout_s: float = 30.0
    ) -> None:
        self.name = f"rpc://{tracker}:{port}/{key}"
        self.sent_bytes = 0
        self._tracker, self._key = (tracker, port), key
        self._priority, self._timeout_s = priority, timeout_s
        self._session: socket.socket | None = None
        self._contents: dict[str, bytes] = {}  # hash → content
        self._authorized: ProgramFile | None = None  # the board's own side has to let it in
        self._facts: dict[str, Any] = {}  # JSON of the board

    def __enter__(self) -> Self:
        try:
            self._try(lambda: None)
        except BaseException:
            self._release()  # of a board that refused
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release()  # ends the session; the board removes its files

    def accept(self, spec: ProgramSpec, where: str) -> None:
        flags = frozenset(self._facts["flags"])
        machine = self.machine().architecture
        check_machine(spec, where, machine=machine, flags=flags, on=self.name)

    def authorize(self, opened: ProgramFile) -> None:
        self._authorized = opened
        self._try(self._show)

    def put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._contents:
            self._contents[digest] = content
            self._try(lambda: self._send(digest, content))
        return digest

    def run(self, command: Sequence[str], timeout_s: float) -> Done:
        request = {"command": list(command), "timeout_s": timeout_s}
        answer = self._try(lambda: self._call("run", request, timeout_s=timeout_s))
        if answer["timed_out"]:
            raise TimeoutError
        if answer["cannot_start"]:
            raise OSError(0, answer["cannot_start"])
        return codec.decode(Done, answer["done"])

    def machine(self) -> Machine:
        return codec.decode(Machine, self._facts["machine"])

    def state(self) -> State:
        return codec.decode(State, self._try(lambda: self._call("look"))["state"])

    def affinity(self) -> tuple[int, ...]:
        return tuple(self._facts["affinity"])

    def _try(self, action: Callable[[], T]) -> T:
        return lease.attempt(
            action,
            acquire=self._acquire,
            release=self._release,
            device=self.name,
            question="does the tracker run, and a board's server?",
        )

    def _release(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _acquire(self) -> None:
        """Wait in the queue for a board, and give it what this run has put on the last one."""
        if self._session is not None:
            return
        with TrackerConnection(self._tracker) as tracker:
            address, port, password = tracker.request(self._key, self._priority)
        try:
            self._session = socket.create_connection((address, port), CONNECT_S)
        except OSError as error:
            reason = error.strerror or error
            raise ConnectionLost(f"board {address}:{port}: {reason}") from error
        self._call("hello", {"protocol": wire.PROTOCOL, "password": password})
        self._facts = self._call("look")
        self._show()
        for digest, content in self._contents.items():
            self._send(digest, content)

    def _show(self) -> None:
        """Let the board verify the bundle itself, where it demands signatures."""
        if self._authorized is None or not self._facts["demands_signatures"]:
            return
        opened = self._authorized
        signature = read_signature(opened.path)
        digest = hashlib.sha256(opened.content).hexdigest()
        self._send(digest, opened.content)
        request = {
            "bundle": digest,
            "name": str(opened.path),
            "signature": base64.b64encode(signature).decode(),
        }
        self._call("admit", request)

    def _send(self, digest: str, content: bytes) -> None:
        if self._call("have", {"digest": digest})["here"]:
            return
        try:
            self._call("put", payload=content)
        except StorageError as error:
            raise StorageError(f"{self.name}: {error.message}", "free some space there") from error
        self.sent_bytes += len(content)

    def _call(
        self,
        verb: str,
        request: Mapping[str, object] | None = None,
        payload: bytes = b"",
        timeout_s: float = 0.0,
    ) -> dict[str, Any]:  # JSON of the board
        """The board's answer. Raises ConnectionLost, or the error that the board met."""
        session = self._session
        assert session is not None, verb
        limit = timeout_s + self._timeout_s
        session.settimeout(limit)
        wire.send(session, {"verb": verb, **(request or {})}, payload)
        answer, _ = wire.receive(session, max_bytes=0)
        if fault := answer.get("fault"):
            raise error_of(fault["exit_code"], fault["message"], fault["hint"])
        return answer

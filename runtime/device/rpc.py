"""A board of a farm: TVM's tracker gives out the boards with a key, one run at a time each.

The board's side is `edgekiln devices serve`, see `board_server`. Runs wait in the tracker's queue,
by priority, and the users of a priority take turns, see `farm_queue`. The tracker asks nobody who
they are: keep it inside a trusted network or an ssh tunnel, and let boards demand signatures.
"""

import base64
import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from edgekiln.runtime import codec
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.device import lease, messages, wire
from edgekiln.runtime.device.device import Done
from edgekiln.runtime.device.farm_job import FarmJob, job_of_this_process
from edgekiln.runtime.device.farm_queue import FarmQueue, NobodyWatches, QueueWatcher
from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.device.messages import BoardFacts, BoardFault, Nothing, Presence, Ran
from edgekiln.runtime.device.tracker import connect
from edgekiln.runtime.errors import DeviceError, StorageError
from edgekiln.runtime.faults import error_of
from edgekiln.runtime.home import user_name
from edgekiln.runtime.host import Machine, State
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.runtime.runner import check_machine
from edgekiln.runtime.signature import read_signature

if TYPE_CHECKING:
    import socket

T = TypeVar("T")
AGAIN_S = 600.0  # in the queue after a lost connection: a board that hangs may be the only one


class RpcDevice:
    """A board of a key, whichever is free.

    After a lost connection the run goes on on the next free one.
    """

    measures = True
    signers: Path | None = None
    shares_clock = False
    replacements = 0

    def __init__(
        self, tracker: str, port: int, key: str, *, priority: int = 1, timeout_s: float = 30.0
    ) -> None:
        self.name = f"rpc://{tracker}:{port}/{key}"
        self.sent_bytes = 0
        self._tracker, self._key = (tracker, port), key
        self._priority, self._timeout_s = priority, timeout_s
        self.program = ""  # what will run, for those who share the boards
        self.watcher: QueueWatcher = NobodyWatches()
        self._user = user_name()
        self._job: FarmJob | None = None  # while the device is held
        self._queued_s = 0.0  # Unix time
        self._board = ""  # its address
        self._patience_s = math.inf  # in the queue, which may be long
        self._session: socket.socket | None = None
        self._contents: dict[str, bytes] = {}  # hash → content
        self._authorized: ProgramFile | None = None  # the board's own side has to let it in
        self._known: BoardFacts | None = None

    def __enter__(self) -> Self:
        self._job = None  # a new one, also where the last had no board
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
        flags = frozenset(self._facts.flags)
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
        ran = self._try(lambda: self._call(Ran, "run", request, timeout_s=timeout_s))
        if ran.timed_out:
            raise TimeoutError
        if ran.cannot_start:
            raise OSError(0, ran.cannot_start)
        if ran.done is None:
            raise DeviceError(f"{self.name}: the board does not say what became of the program")
        return ran.done

    def machine(self) -> Machine:
        return self._facts.machine

    def state(self) -> State:
        return self._try(lambda: self._call(BoardFacts, "look")).state

    def affinity(self) -> tuple[int, ...]:
        return self._facts.affinity

    @property
    def _facts(self) -> BoardFacts:
        assert self._known is not None, self.name
        return self._known

    def _try(self, action: Callable[[], T]) -> T:
        return lease.attempt(
            action,
            acquire=self._acquire,
            release=self._lose,
            device=self.name,
            question="does the tracker run, and a board's server?",
            again=self._tell_loss,
        )

    def _lose(self) -> None:
        self._release()
        self._patience_s = AGAIN_S

    def _tell_loss(self, error: ConnectionLost) -> None:
        after = "trying again"
        if self._board:
            after = "the run goes on on the next board that is free"
            self.replacements += 1
            self._board = ""
        self.watcher.lost(f"{self.name}: {error}; {after}")

    def _release(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _acquire(self) -> None:
        """Wait in the queue for a board, and give it what this run has put on the last one."""
        if self._session is not None:
            return
        if self._job is None:
            self._job = job_of_this_process(self._user, self.program, self._priority)
            self._queued_s = time.time()
        with FarmQueue(self._tracker, self._key, self._job, self._queued_s, self.watcher) as queue:
            given = queue.wait(self._patience_s)
            self._board = f"{given.host}:{given.port}"
            self._session = connect((given.host, given.port), f"board {self._board}")
            hello = {"protocol": wire.PROTOCOL, "password": given.password}
            self._call(Nothing, "hello", {**hello, "job": codec.encode(self._job)})
            self._known = self._call(BoardFacts, "look")  # by now the board says that it is ours
        self._show()
        for digest, content in self._contents.items():
            self._send(digest, content)

    def _show(self) -> None:
        """Let the board verify the bundle itself, where it demands signatures."""
        if self._authorized is None or not self._facts.demands_signatures:
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
        self._call(Nothing, "admit", request)

    def _send(self, digest: str, content: bytes) -> None:
        if self._call(Presence, "have", {"digest": digest}).here:
            return
        try:
            self._call(Nothing, "put", payload=content)
        except StorageError as error:
            raise StorageError(f"{self.name}: {error.message}", "free some space there") from error
        self.sent_bytes += len(content)

    def _call(
        self,
        kind: type[T],
        verb: str,
        request: Mapping[str, object] | None = None,
        payload: bytes = b"",
        timeout_s: float = 0.0,
    ) -> T:
        """The board's answer. Raises ConnectionLost, or the error that the board met."""
        session = self._session
        assert session is not None, verb
        limit = timeout_s + self._timeout_s
        session.settimeout(limit)
        try:
            wire.send(session, {"verb": verb, **(request or {})}, payload)
            answer, _ = wire.receive(session, max_bytes=0)
        except ConnectionLost as error:
            raise ConnectionLost(f"board {self._board}: {error}") from error
        if "fault" in answer:
            fault = messages.read(BoardFault, answer["fault"], self.name)
            raise error_of(fault.exit_code, fault.message, fault.hint)
        return messages.read(kind, answer, self.name)

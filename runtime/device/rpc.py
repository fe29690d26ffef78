"""A board of a farm: TVM's tracker gives out the boards with a key, one run at a time each.

The board's side is `edgekiln devices serve`, see `rpc_server`. Runs wait in the tracker's queue, by
priority. The tracker knows no passwords: keep it inside a trusted network or an ssh tunnel.
"""

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

from edgekiln.runtime import codec
from edgekiln.runtime.device import lease
from edgekiln.runtime.device.device import Done
from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.errors import MissingToolError, StorageError
from edgekiln.runtime.host import Machine, State
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.runtime.runner import check_machine

T = TypeVar("T")
CONNECT_S = 10.0
INSTALL_HINT = "pip install 'edgekiln[rpc]'"


class RpcDevice:
    """Any board of a key. After a lost connection the run goes on on the next free one."""

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
        self._session: Any = None
        self._contents: dict[str, bytes] = {}  # hash → content
        self._facts: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._try(lambda: None)
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

    def put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._contents:
            self._contents[digest] = content
            self._try(lambda: self._send(digest))
        return digest

    def run(self, command: Sequence[str], timeout_s: float) -> Done:
        request = json.dumps({"command": list(command), "timeout_s": timeout_s})
        answer = self._try(lambda: self._call("run", request, timeout_s=timeout_s))
        if answer["timed_out"]:
            raise TimeoutError
        if answer["cannot_start"]:
            raise OSError(0, answer["cannot_start"])
        return codec.decode(Done, answer["done"])

    def machine(self) -> Machine:
        return codec.decode(Machine, self._facts["machine"])

    def state(self) -> State:
        return codec.decode(State, self._try(lambda: self._call("look", ""))["state"])

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
        self._session = None

    def _acquire(self) -> None:
        """Wait in the queue for a board, and give it what this run has put on the last one."""
        if self._session is not None:
            return
        rpc = import_rpc()
        reach(self._tracker)
        try:
            tracker = rpc.TrackerSession(self._tracker)
            self._session = tracker.request(self._key, priority=self._priority)
        except (OSError, RuntimeError) as error:
            raise ConnectionLost(str(error).strip().splitlines()[-1]) from error
        self._facts = self._call("look", "")
        for digest in self._contents:
            self._send(digest)

    def _send(self, digest: str) -> None:
        if self._call("have", digest)["here"]:
            return
        content = self._contents[digest]
        answer = self._call("put", base64.b64encode(content).decode())
        if answer["problem"]:
            raise StorageError(f"{self.name}: {answer['problem']}", hint="free some space there")
        self.sent_bytes += len(content)

    def _call(self, verb: str, request: str, timeout_s: float = 0.0) -> Any:
        """In a thread of its own: the call itself knows no timeout. Raises ConnectionLost."""
        session = self._session
        results: SimpleQueue[str | Exception] = SimpleQueue()

        def call() -> None:
            try:
                results.put(str(session.get_function(f"edgekiln.{verb}")(request)))
            except Exception as error:  # TVM's are of many classes
                results.put(error)

        threading.Thread(target=call, daemon=True).start()
        limit = timeout_s + self._timeout_s
        try:
            result = results.get(timeout=limit)
        except Empty:
            raise ConnectionLost(f"no answer within {limit:.0f} s") from None
        if isinstance(result, Exception):
            said = str(result).strip().splitlines()[-1:] or [type(result).__name__]
            raise ConnectionLost(said[0]) from result
        return json.loads(result)


def reach(address: tuple[str, int]) -> None:
    """TVM itself would try for a minute, and print. Raises ConnectionLost."""
    try:
        socket.create_connection(address, CONNECT_S).close()
    except OSError as error:
        raise ConnectionLost(f"tracker {address[0]}:{address[1]}: {error.strerror}") from error


def import_rpc() -> Any:
    """Raises MissingToolError where TVM is not installed."""
    try:
        from tvm import rpc
    except ImportError as error:
        raise MissingToolError(f"TVM's RPC: {error}", INSTALL_HINT) from error
    return rpc

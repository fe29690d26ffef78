"""TVM's RPC tracker, which gives out the boards of a farm, spoken to without TVM.

Of its protocol (tvm/rpc/tracker.py, `TCPEventHandler`) this is what a client and a board need:
after a magic number each way, messages are a length (int32, little-endian) and JSON. What the
tracker knows of a board lives as long as the board's connection.
"""

import contextlib
import json
import math
import select
import socket
import struct
import time
from types import TracebackType
from typing import Any, Self

from edgekiln.runtime import codec
from edgekiln.runtime.device import wire
from edgekiln.runtime.device.lease import ConnectionLost

CONNECT_S = 10.0
_MAGIC = 0x2F271
_SUCCESS, _PUT, _REQUEST, _UPDATE_INFO, _SUMMARY, _GET_PENDING_MATCHKEYS = 0, 3, 4, 5, 6, 7
LOOK_S = 5.0  # in the queue, between two looks whether there is still a board to wait for
_MAX_MESSAGE = 1 << 20
_INT32 = struct.Struct("<i")


def connect(address: tuple[str, int], name: str) -> socket.socket:
    """A connection that notices when the other side is gone. Raises ConnectionLost.

    Args:
        name: of the other side, in errors.
    """
    try:
        connection = socket.create_connection(address, CONNECT_S)
    except (OSError, ValueError) as error:  # ValueError: a name that no host can have
        reason = error.strerror if isinstance(error, OSError) else None
        raise ConnectionLost(f"{name}: {reason or error}") from error
    wire.keep_alive(connection)
    return connection


class TrackerConnection:
    """One connection; every method raises ConnectionLost when it breaks."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._name = f"tracker {address[0]}:{address[1]}"
        self.socket = connect(address, self._name)
        try:
            self._send_all(_INT32.pack(_MAGIC))
            if _INT32.unpack(self._receive_all(_INT32.size)) != (_MAGIC,):
                raise ConnectionLost(f"{self._name} is none of TVM's")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()

    def announce(self, key: str, address: str | None, port: int) -> None:
        """Who is at the other end, for the tracker's summary. None: where this connection is from.

        Nothing is offered yet.
        """
        info = {"key": f"server:{key}", "addr": [address, port]}
        self._ask([_UPDATE_INFO, info])

    def offer(self, key: str, address: str | None, port: int, password: str) -> None:
        """Offer one session: whoever asks for `key` is told the address and the password."""
        self._ask([_PUT, key, [port, password], address])

    def offered(self) -> tuple[str, ...]:
        """The passwords of those offers that nobody was given yet."""
        answer = self._ask([_GET_PENDING_MATCHKEYS])
        if not isinstance(answer, list):
            raise ConnectionLost(f"{self._name} answered {answer!r}")
        return tuple(map(str, answer))

    def request(
        self, key: str, priority: int, patience_s: float = math.inf
    ) -> tuple[str, int, str]:
        """Wait for a board of this key: its address, port and password.

        Raises ConnectionLost also where there is none, or is none any more, or nobody got free
        within `patience_s`.
        """
        until = time.monotonic() + patience_s
        self._tell([_REQUEST, key, "", priority])
        # The queue may be long; but where the last board has died, it is endless.
        while not select.select([self.socket], [], [], LOOK_S)[0]:
            with TrackerConnection(self._address) as other:
                other.require_board(key)
            if time.monotonic() > until:
                raise ConnectionLost(f"{self._name}: no board of key {key!r} gets free")
        answer = self._answer()
        try:
            status, (address, port, password) = answer
            if status != _SUCCESS:
                raise ValueError(status)
            if type(port) is not int or not 0 < port < 65536:
                raise ValueError(port)
            return str(address), port, str(password)
        except (TypeError, ValueError) as error:
            raise ConnectionLost(f"{self._name} answered {answer!r}") from error

    def require_board(self, key: str) -> None:
        """Raise ConnectionLost where no board of this key is there, be it free or at work."""
        answer = self._ask([_SUMMARY])
        try:
            _, summary = answer
            known = {each["key"].removeprefix("server:") for each in summary["server_info"]}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConnectionLost(f"{self._name} answered {answer!r}") from error
        if key not in known:
            others = f"; keys are: {', '.join(sorted(known))}" if known else ", nor any other"
            raise ConnectionLost(f"{self._name} knows no board of key {key!r}{others}")

    def _ask(self, message: list[object]) -> Any:  # JSON of the tracker
        self._tell(message)
        return self._answer()

    def _tell(self, message: list[object]) -> None:
        text = json.dumps(message).encode()
        self._send_all(_INT32.pack(len(text)) + text)

    def _answer(self) -> Any:  # JSON of the tracker
        (size,) = _INT32.unpack(self._receive_all(_INT32.size))
        if not 0 < size <= _MAX_MESSAGE:
            raise ConnectionLost(f"{self._name} announced {size} bytes")
        try:
            return codec.loads(self._receive_all(size))
        except ValueError as error:
            raise ConnectionLost(f"{self._name} sent no JSON") from error

    def _send_all(self, content: bytes) -> None:
        try:
            self.socket.sendall(content)
        except OSError as error:
            raise ConnectionLost(f"{self._name}: {error.strerror or error}") from error

    def _receive_all(self, size: int) -> bytes:
        # A stream: what was sent in one piece may arrive in several.
        content = b""
        while len(content) < size:
            try:
                part = self.socket.recv(size - len(content))
            except OSError as error:
                raise ConnectionLost(f"{self._name}: {error.strerror or error}") from error
            if not part:
                raise ConnectionLost(f"{self._name} closed the connection")
            content += part
        return content

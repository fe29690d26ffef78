"""TVM's RPC tracker, which gives out the boards of a farm, spoken to without TVM.

Of its protocol (tvm/rpc/tracker.py, `TCPEventHandler`) this is what a client and a board need:
after a magic number each way, messages are a length (int32, little-endian) and JSON. What the
tracker knows of a board lives as long as the board's connection.
"""

import contextlib
import json
import socket
import struct
from types import TracebackType
from typing import Any, Self

from edgekiln.runtime import codec
from edgekiln.runtime.device import wire
from edgekiln.runtime.device.lease import ConnectionLost

CONNECT_S = 10.0
_MAGIC = 0x2F271
_SUCCESS, _PUT, _REQUEST, _UPDATE_INFO, _GET_PENDING_MATCHKEYS = 0, 3, 4, 5, 7
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

    def request(self, key: str, priority: int) -> tuple[str, int, str]:
        """Wait for a board of this key: its address, port and password."""
        self.socket.settimeout(None)  # the queue may be long
        answer = self._ask([_REQUEST, key, "", priority])
        try:
            status, (address, port, password) = answer
            if status != _SUCCESS:
                raise ValueError(status)
            if type(port) is not int or not 0 < port < 65536:
                raise ValueError(port)
            return str(address), port, str(password)
        except (TypeError, ValueError) as error:
            raise ConnectionLost(f"{self._name} answered {answer!r}") from error

    def _ask(self, message: list[object]) -> Any:  # JSON of the tracker
        text = json.dumps(message).encode()
        self._send_all(_INT32.pack(len(text)) + text)
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

"""TVM's RPC tracker, which gives out the boards of a farm, spoken to without TVM.

Of its protocol (tvm/rpc/tracker.py, `TCPEventHandler`) this is what a client and a board need:
after a magic number each way, messages are a length (int32, little-endian) and JSON. What the
tracker knows of a board lives as long as the board's connection.
"""

import contextlib
import json
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from edgekiln.runtime import codec
from edgekiln.runtime.device import farm_view, wire
from edgekiln.runtime.device.farm_view import BoardNews, FarmView, WaitingJob
from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.typed import whole_number

CONNECT_S = 10.0
TRACKER_HINT = "start the tracker first: python -m tvm.exec.rpc_tracker"
_MAGIC = 0x2F271
_SUCCESS, _PUT, _REQUEST, _UPDATE_INFO, _SUMMARY, _GET_PENDING_MATCHKEYS = 0, 3, 4, 5, 6, 7
_MAX_MESSAGE = 16 << 20  # a summary has some hundred bytes for each board and each who waits
_INT32 = struct.Struct("<i")


@dataclass(frozen=True, kw_only=True)
class GivenBoard:
    """A board that the tracker has given to a client, for one session."""

    host: str
    port: int
    password: str


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


def tracker_address(text: str) -> tuple[str, int]:
    """Host and port of "HOST:PORT", also as addresses of IPv6 are written. Raises ConfigError."""
    name, _, number = text.rpartition(":")
    port = whole_number(number, 65535)
    if not name or not port:
        raise ConfigError(f"tracker = {text!r}", hint="give HOST:PORT, e.g. 10.0.0.2:9190")
    return name.removeprefix("[").removesuffix("]"), port


class TrackerConnection:
    """One connection; every method raises ConnectionLost when it breaks."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.name = f"tracker {address[0]}:{address[1]}"
        self.socket = connect(address, self.name)
        try:
            self._send_all(_INT32.pack(_MAGIC))
            if _INT32.unpack(self._receive_all(_INT32.size)) != (_MAGIC,):
                raise ConnectionLost(f"{self.name} is none of TVM's")
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

    def announce_board(self, key: str, host: str | None, port: int, news: BoardNews) -> None:
        """Say which board is at the other end, and what it does. Nothing is offered by that.

        Args:
            host: where it is reached; None: where this connection is from.
        """
        self._ask([_UPDATE_INFO, farm_view.told_by_board(key, host, port, news)])

    def announce_waiting(self, news: WaitingJob) -> None:
        """Say who waits at the other end, until this connection ends."""
        self._ask([_UPDATE_INFO, farm_view.told_by_client(news)])

    def offer(self, key: str, address: str | None, port: int, password: str) -> None:
        """Offer one session: whoever asks for `key` is told the address and the password."""
        self._ask([_PUT, key, [port, password], address])

    def offered(self) -> tuple[str, ...]:
        """The passwords of those offers that nobody was given yet."""
        answer = self._ask([_GET_PENDING_MATCHKEYS])
        if not isinstance(answer, list):
            raise ConnectionLost(f"{self.name} answered {answer!r}")
        return tuple(map(str, answer))

    def ask(self, key: str, priority: float) -> None:
        """Enter the queue for a board of this key; higher goes first. The socket becomes readable
        when there is one.
        """
        self._tell([_REQUEST, key, "", priority])

    def given(self) -> GivenBoard:
        """The board that was asked for; waits for it."""
        answer = self._answer()
        try:
            status, (host, port, password) = answer
            if status != _SUCCESS:
                raise ValueError(status)
            if type(port) is not int or not 0 < port < 65536:
                raise ValueError(port)
            return GivenBoard(host=str(host), port=port, password=str(password))
        except (TypeError, ValueError) as error:
            raise ConnectionLost(f"{self.name} answered {answer!r}") from error

    def withdraw(self) -> GivenBoard | None:
        """Leave the queue; the board, if one was given in the meantime. Ends the connection.

        The tracker hears that nothing more comes and ends its side: what it has not sent by then
        it gives to the next in the queue.
        """
        try:
            self.socket.shutdown(socket.SHUT_WR)
            given = self.socket.recv(1, socket.MSG_PEEK)
        except OSError as error:
            raise ConnectionLost(f"{self.name}: {error.strerror or error}") from error
        return self.given() if given else None

    def view(self) -> FarmView:
        """What the tracker knows of all boards and queues."""
        answer = self._ask([_SUMMARY])
        try:
            status, summary = answer
            if status != _SUCCESS:
                raise ValueError(status)
            return farm_view.view_of(summary)
        except (TypeError, ValueError) as error:
            raise ConnectionLost(f"{self.name} answered no summary: {error}") from error

    def _ask(self, message: list[object]) -> Any:  # JSON of the tracker
        self._tell(message)
        return self._answer()

    def _tell(self, message: list[object]) -> None:
        text = json.dumps(message).encode()
        self._send_all(_INT32.pack(len(text)) + text)

    def _answer(self) -> Any:  # JSON of the tracker
        (size,) = _INT32.unpack(self._receive_all(_INT32.size))
        if not 0 < size <= _MAX_MESSAGE:
            raise ConnectionLost(f"{self.name} announced {size} bytes")
        try:
            return codec.loads(self._receive_all(size))
        except ValueError as error:
            raise ConnectionLost(f"{self.name} sent no JSON") from error

    def _send_all(self, content: bytes) -> None:
        try:
            self.socket.sendall(content)
        except OSError as error:
            raise ConnectionLost(f"{self.name}: {error.strerror or error}") from error

    def _receive_all(self, size: int) -> bytes:
        # A stream: what was sent in one piece may arrive in several.
        content = b""
        while len(content) < size:
            try:
                part = self.socket.recv(size - len(content))
            except OSError as error:
                raise ConnectionLost(f"{self.name}: {error.strerror or error}") from error
            if not part:
                raise ConnectionLost(f"{self.name} closed the connection")
            content += part
        return content

"""Messages between a client and a board's server: a JSON object each, with bytes behind it or none.

A frame is the length of the JSON text (four bytes, big-endian), the text, and as many raw bytes as
its key "bytes" says.
"""

import json
import math
import socket
import struct
import time
from collections.abc import Mapping

from edgekiln.runtime import codec
from edgekiln.runtime.device.lease import ConnectionLost

PROTOCOL = 1  # raised when messages change; both sides name theirs in the first one
MAX_TEXT = 16 << 20  # a report of many raw latencies is some MiB
MAX_HELLO = 4096  # of the first message, which may be a stranger's
ALIVE_S, ALIVE_TRIES = 30, 4  # a connection is lost whose other side is silent for so many times
_LENGTH = struct.Struct(">I")


def keep_alive(connection: socket.socket) -> None:
    """Ask an idle other side now and then whether it is still there: one that lost its power, or
    whose way was cut, says no goodbye.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, ALIVE_S),
        (socket.TCP_KEEPINTVL, ALIVE_S),
        (socket.TCP_KEEPCNT, ALIVE_TRIES),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def send(connection: socket.socket, message: Mapping[str, object], payload: bytes = b"") -> None:
    """Send a message, and `payload` behind it. Raises ConnectionLost."""
    text = json.dumps({**message, "bytes": len(payload)}).encode()
    try:
        connection.sendall(_LENGTH.pack(len(text)) + text)
        connection.sendall(payload)
    except OSError as error:
        raise ConnectionLost(_reason(error)) from error


def receive(connection: socket.socket, max_bytes: int) -> tuple[dict[str, object], bytes]:
    """The next message, with no more than `max_bytes` behind it.

    Raises:
        ConnectionLost: it ended, took longer than the socket's timeout, or is no such message.
    """
    try:
        limit = connection.gettimeout()
        # The whole text within it: a byte now and then would else do for hours.
        ending = math.inf if limit is None else time.monotonic() + limit
        length = _length(_exactly(connection, _LENGTH.size, ending), MAX_TEXT)
        message, size = _parsed(_exactly(connection, length, ending), max_bytes)
        connection.settimeout(limit)
        return message, _exactly(connection, size)
    except OSError as error:
        raise ConnectionLost(_reason(error)) from error
    except MemoryError as error:
        raise ConnectionLost("there is no memory for what came") from error


def opening(said: bytes) -> dict[str, object] | None:
    """The first message, of which `said` has come until now; None while a part is missing.

    Raises:
        ConnectionLost: it is no such message, is longer than MAX_HELLO, or has bytes behind it.
    """
    if len(said) < _LENGTH.size:
        return None
    end = _LENGTH.size + _length(said[: _LENGTH.size], MAX_HELLO)
    if len(said) < end:
        return None
    if len(said) > end:
        raise ConnectionLost("more came than a first message")
    return _parsed(said[_LENGTH.size :], 0)[0]


def _length(head: bytes, most: int) -> int:
    (length,) = _LENGTH.unpack(head)
    if length > most:
        raise ConnectionLost(f"a message of {length} bytes is none of EdgeKiln's")
    return int(length)


def _parsed(text: bytes, max_bytes: int) -> tuple[dict[str, object], int]:
    """A message, and how many bytes are behind it."""
    try:
        message = codec.loads(text)
    except ValueError as error:
        raise ConnectionLost(f"a message is not JSON: {error}") from error
    if not isinstance(message, dict) or type(size := message.pop("bytes", None)) is not int:
        raise ConnectionLost("a message is none of EdgeKiln's")
    if not 0 <= size <= max_bytes:
        raise ConnectionLost(f"{size} bytes were announced, {max_bytes} may come")
    return message, size


def _exactly(connection: socket.socket, size: int, ending: float = math.inf) -> bytes:
    parts: list[bytes] = []
    while size:
        if ending < math.inf:
            connection.settimeout(max(1e-3, ending - time.monotonic()))
        part = connection.recv(min(size, 1 << 20))
        if not part:
            raise ConnectionLost("the other side closed it")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _reason(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)

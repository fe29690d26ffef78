"""Messages between a client and a board's server: a JSON object each, with bytes behind it or none.

A frame is the length of the JSON text (four bytes, big-endian), the text, and as many raw bytes as
its key "bytes" says.
"""

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

from edgekiln.runtime import codec
from edgekiln.runtime.device.lease import ConnectionLost

PROTOCOL = 1  # raised when messages change; both sides name theirs in the first one
MAX_TEXT = 16 << 20  # a report of many raw latencies is some MiB
_LENGTH = struct.Struct(">I")


def send(connection: socket.socket, message: Mapping[str, object], payload: bytes = b"") -> None:
    """Send a message, and `payload` behind it. Raises ConnectionLost."""
    text = json.dumps({**message, "bytes": len(payload)}).encode()
    try:
        connection.sendall(_LENGTH.pack(len(text)) + text)
        connection.sendall(payload)
    except OSError as error:
        raise ConnectionLost(_reason(error)) from error


# JSON of the other side.
def receive(connection: socket.socket, max_bytes: int) -> tuple[dict[str, Any], bytes]:
    """The next message, with no more than `max_bytes` behind it.

    Raises:
        ConnectionLost: it ended, took longer than the socket's timeout, or is no such message.
    """
    try:
        (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
        if length > MAX_TEXT:
            raise ConnectionLost(f"a message of {length} bytes is none of EdgeKiln's")
        message = codec.loads(_exactly(connection, length))
        if not isinstance(message, dict) or type(size := message.pop("bytes", None)) is not int:
            raise ConnectionLost("a message is none of EdgeKiln's")
        if not 0 <= size <= max_bytes:
            raise ConnectionLost(f"{size} bytes were announced, {max_bytes} may come")
        return message, _exactly(connection, size)
    except OSError as error:
        raise ConnectionLost(_reason(error)) from error
    except ValueError as error:
        raise ConnectionLost(f"a message is not JSON: {error}") from error


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = connection.recv(min(size, 1 << 20))
        if not part:
            raise ConnectionLost("the other side closed it")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _reason(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)

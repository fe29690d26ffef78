"""A phone's side of Android's debug bridge, for the real client: `adb connect 127.0.0.1:PORT`.

AOSP, packages/modules/adb: docs/dev/protocol.md (messages, streams) and shell_protocol.h (what runs
inside a shell's stream). The phone's shell is this machine's.
"""

import contextlib
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from queue import SimpleQueue

HEADER = struct.Struct("<6I")  # command, two arguments, bytes of data, their sum, ~command
VERSION, MAX_DATA = 0x01000001, 256 * 1024
BANNER = b"device::ro.product.name=toy;ro.product.model=toy;ro.product.device=toy;features=shell_v2"

PACKET = struct.Struct("<BI")  # of a shell: which stream, bytes
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


@dataclass
class Phone:
    """Listens; each client's connection and each of its shells has threads of its own."""

    listener: socket.socket
    connections: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                threading.Thread(target=_Bridge(connection).serve, daemon=True).start()

    def cut(self) -> None:
        """As a pulled cable."""
        while self.connections:
            with contextlib.suppress(OSError):
                self.connections.pop().shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def phone() -> Iterator[Phone]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Phone(listener)
        threading.Thread(target=running.serve, daemon=True).start()
        yield running
        listener.shutdown(socket.SHUT_RDWR)
        running.cut()


class _Bridge:
    """One client: its streams, by the phone's numbers."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._lock = connection, threading.Lock()
        self._shells: dict[int, _Shell] = {}

    def serve(self) -> None:
        with contextlib.suppress(OSError), self._connection:
            while True:
                command, first, second, size, *_ = HEADER.unpack(self._read(HEADER.size))
                self._handle(command.to_bytes(4, "little"), first, second, self._read(size))
        for shell in self._shells.values():
            shell.end()

    def _handle(self, command: bytes, theirs: int, ours: int, data: bytes) -> None:
        if command == b"CNXN":
            self.send(b"CNXN", VERSION, MAX_DATA, BANNER)
        elif command == b"OPEN":
            service, _, script = data.rstrip(b"\0").partition(b":")
            if not {b"shell", b"v2", b"raw"} <= {*service.split(b",")}:
                self.send(b"CLSE", 0, theirs)
                return
            number = len(self._shells) + 1
            self.send(b"OKAY", number, theirs)
            self._shells[number] = _Shell(self, number, theirs, script)
        elif command == b"WRTE":
            self._shells[ours].receive(data)
            self.send(b"OKAY", ours, theirs)
        elif command == b"OKAY":
            self._shells[ours].acknowledged.put(None)
        elif command == b"CLSE" and ours in self._shells:
            self._shells[ours].end()

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        number = int.from_bytes(command, "little")
        header = HEADER.pack(
            number, first, second, len(data), sum(data) & 0xFFFFFFFF, number ^ 0xFFFFFFFF
        )
        with self._lock:
            self._connection.sendall(header + data)

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            new = self._connection.recv(size - len(data))
            if not new:
                raise ConnectionError
            data += new
        return bytes(data)


class _Shell:
    """A command in a stream. Each message waits for the client's word that it has come."""

    def __init__(self, bridge: _Bridge, ours: int, theirs: int, script: bytes) -> None:
        self.acknowledged: SimpleQueue[None] = SimpleQueue()
        self._bridge, self._ours, self._theirs = bridge, ours, theirs
        self._lock, self._rest = threading.Lock(), b""
        self._process = subprocess.Popen(
            ["sh", "-c", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        threading.Thread(target=self._pump, daemon=True).start()

    def receive(self, data: bytes) -> None:
        self._rest += data
        stdin = self._process.stdin
        assert stdin is not None
        while len(self._rest) >= PACKET.size:
            stream, size = PACKET.unpack_from(self._rest)
            if len(self._rest) < PACKET.size + size:
                return
            content = self._rest[PACKET.size : PACKET.size + size]
            self._rest = self._rest[PACKET.size + size :]
            with contextlib.suppress(OSError):
                if stream == STDIN:
                    stdin.write(content)
                    stdin.flush()
                elif stream == CLOSE_STDIN:
                    stdin.close()

    def end(self) -> None:
        """The client is gone: a hang-up, as Android's daemon sends it; and its stdin ends."""
        self._process.terminate()
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError):
            stdin.close()

    def _pump(self) -> None:
        streams = ((STDOUT, self._process.stdout), (STDERR, self._process.stderr))
        threads = [threading.Thread(target=self._forward, args=each) for each in streams]
        with contextlib.suppress(OSError):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            code = self._process.wait()
            self._write(EXIT, bytes([code if code >= 0 else 128 - code]))
            self._bridge.send(b"CLSE", self._ours, self._theirs)

    def _forward(self, number: int, stream: BufferedReader) -> None:
        with contextlib.suppress(OSError), stream:
            while content := stream.read1(MAX_DATA - PACKET.size):
                self._write(number, content)

    def _write(self, stream: int, content: bytes) -> None:
        with self._lock:
            packet = PACKET.pack(stream, len(content)) + content
            self._bridge.send(b"WRTE", self._ours, self._theirs, packet)
            self.acknowledged.get(timeout=30)

"""A way to a board: something that runs scripts there."""

import os
import select
import selectors
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Protocol

from edgekiln.runtime.errors import DeviceError

SIGNALLED = 128  # a shell's exit code for a program that a signal killed, plus its number
MOST_SAID = 4096  # bytes of a first line
MOST_PRINTED = 64 << 20  # bytes of a script's output: a report of many raw latencies is some MiB
_PART = 1 << 16


class Shell(Protocol):
    """Raises ConnectionLost where the way itself fails."""

    name: str  # as the user gave it: "ssh://pi@10.0.0.7"
    directory: str  # on the board; ours alone

    def command(self, script: str, arguments: Sequence[str]) -> list[str]:
        """What to start on this machine so that `script` runs there with its stdin, stdout and
        stderr here."""
        ...

    def outcome(self, exit_code: int, stderr: str) -> int:
        """The script's own exit code. Raises ConnectionLost when it was the way that failed."""
        ...

    def close(self) -> None:
        """Give up what is shared between commands."""
        ...


def run_script(
    shell: Shell, script: str, *arguments: str, stdin: bytes = b"", timeout_s: float
) -> "subprocess.CompletedProcess[bytes]":
    """Raises ConnectionLost, TimeoutError, DeviceError where it prints without end, and OSError
    when the client cannot be started.
    """
    command = shell.command(script, (shell.directory, *arguments))
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        process = subprocess.Popen(
            command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    try:
        done = _ended(shell.name, process, timeout_s)
    finally:
        process.kill()  # unless it has ended
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
    done.returncode = shell.outcome(done.returncode, done.stderr.decode(errors="replace"))
    if done.returncode > SIGNALLED:
        done.returncode = SIGNALLED - done.returncode
    return done


def _ended(
    name: str, process: "subprocess.Popen[bytes]", timeout_s: float
) -> "subprocess.CompletedProcess[bytes]":
    """What a process has printed, and its exit code. Raises TimeoutError, DeviceError."""
    until = time.monotonic() + timeout_s
    printed = {"stdout": bytearray(), "stderr": bytearray()}
    with selectors.DefaultSelector() as open_streams:
        for what in printed:
            open_streams.register(getattr(process, what), selectors.EVENT_READ, what)
        while open_streams.get_map():
            ready = open_streams.select(max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                part = os.read(key.fd, _PART)
                if not part:
                    open_streams.unregister(key.fileobj)
                printed[key.data] += part
                if len(printed[key.data]) > MOST_PRINTED:
                    raise DeviceError(
                        f"{name}: it prints without end, over {MOST_PRINTED >> 20} MiB",
                        hint="is this the board's shell, and the bundle one that you built?",
                    )
    try:
        code = process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    return subprocess.CompletedProcess(
        process.args, code, bytes(printed["stdout"]), bytes(printed["stderr"])
    )


def first_line(process: "subprocess.Popen[bytes]", timeout_s: float) -> str:
    """The first line without its end; "" when there is no whole one in time."""
    stream: IO[bytes] | None = process.stdout
    assert stream is not None
    until, said = time.monotonic() + timeout_s, b""
    while b"\n" not in said and len(said) < MOST_SAID:
        if not select.select([stream], [], [], max(0.0, until - time.monotonic()))[0]:
            return ""
        part = os.read(stream.fileno(), MOST_SAID)
        if not part:
            break
        said += part
    return said.partition(b"\n")[0].decode(errors="replace").strip()

"""A way to a board: something that runs scripts there."""

import os
import select
import subprocess
import time
from collections.abc import Sequence
from typing import IO, Protocol

SIGNALLED = 128  # a shell's exit code for a program that a signal killed, plus its number
MOST_SAID = 4096  # bytes of a first line


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
    """Raises ConnectionLost, TimeoutError, and OSError when the client cannot be started."""
    command = shell.command(script, (shell.directory, *arguments))
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    done.returncode = shell.outcome(done.returncode, done.stderr.decode(errors="replace"))
    if done.returncode > SIGNALLED:
        done.returncode = SIGNALLED - done.returncode
    return done


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

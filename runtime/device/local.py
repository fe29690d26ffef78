"""This machine as a device."""

import contextlib
import hashlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from edgekiln.runtime import host
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.device.device import LOCAL, Done
from edgekiln.runtime.files import EXECUTABLE_MODE, cannot_write
from edgekiln.runtime.host import Machine, State
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.runtime.runner import check_machine
from edgekiln.runtime.trust import machine_signers


class LocalDevice:
    """Files lie in a temporary directory while the device is held."""

    measures = True
    shares_clock = True
    replacements = 0

    def __init__(self) -> None:
        self.name = LOCAL
        self.signers = machine_signers()
        self._launcher: tuple[str, ...] = ()  # comes before each command

    def __enter__(self) -> Self:
        self._home = tempfile.TemporaryDirectory(prefix="edgekiln-device-")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._home.cleanup()

    def accept(self, spec: ProgramSpec, where: str) -> None:
        check_machine(spec, where)

    def authorize(self, opened: ProgramFile) -> None:
        """`signers` is this machine's own policy already."""

    def put(self, content: bytes) -> str:
        return str(place(Path(self._home.name), content))

    def run(self, command: Sequence[str], timeout_s: float) -> Done:
        return execute([*self._launcher, *command], timeout_s)

    def machine(self) -> Machine:
        return host.machine()

    def state(self) -> State:
        return host.state()

    def affinity(self) -> tuple[int, ...]:
        return host.affinity()


def place(home: Path, content: bytes) -> Path:
    """An executable file in `home`, named by its hash, there whole or not. Raises StorageError."""
    # By content: what is put twice lies there once.
    path = home / hashlib.sha256(content).hexdigest()
    part = path.with_name(f"part.{os.getpid()}")
    try:
        if not path.exists():
            part.write_bytes(content)
            part.chmod(EXECUTABLE_MODE)
            part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
    return path


def execute(command: Sequence[str], timeout_s: float) -> Done:
    """Run a command here. Raises TimeoutError after killing it, OSError when it cannot start."""
    process = subprocess.Popen(
        # A session of its own, so that Ctrl-C is this process's and its children can be ended with
        # it.
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    finally:
        kill_group(process)
    return Done(exit_code=process.returncode, stdout=stdout, stderr=stderr)


def kill_group(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    """End a program that is too late or not wanted any more, unless its end has been seen.

    `process` leads a session of its own: an emulator's or a script's children go, too.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

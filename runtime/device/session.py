"""What one client may do on a board: look, store files by their content, start some of them."""

import base64
import contextlib
import hashlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO

from edgekiln.runtime import codec, host
from edgekiln.runtime.bundle import ProgramFile, executable_name
from edgekiln.runtime.device import messages, strays, wire
from edgekiln.runtime.device.device import Done
from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.device.local import kill_group, place
from edgekiln.runtime.device.messages import (
    AdmitRequest,
    BoardFacts,
    BoardFault,
    FileRequest,
    Nothing,
    Presence,
    Ran,
    RunRequest,
)
from edgekiln.runtime.errors import BundleError, DeviceError, EdgeKilnError, InputError
from edgekiln.runtime.home import home
from edgekiln.runtime.limits import BUNDLES
from edgekiln.runtime.signature import verify_content
from edgekiln.runtime.termination import end_with_parent

KEEP_DAYS = 30  # files that no run has used for so long go, as on boards behind ssh
SEND_S = 60.0  # for the next piece of what a client sends
MAX_RUN_S = 86_400.0
MAX_PRINTED = 4 << 20  # bytes of a program's output that a client is sent, of each stream
_ROOM = wire.MAX_TEXT // 2 - 1024  # in a message's text, for one of two streams
_DIGEST = re.compile(r"[0-9a-f]{64}")


def kept_folder() -> Path:
    """Where files stay for the next session. Raises ConfigError."""
    return home("run it as a user who has one") / ".cache/edgekiln/boards"


class ClientSession:
    """All that happens from a client's hello to its end, however that comes."""

    def __init__(self, client: socket.socket, signers: Path | None) -> None:
        self._client, self._signers = client, signers
        self._kept = kept_folder()
        self._admitted: set[str] = set()  # hashes of executables in verified bundles

    def serve(self) -> None:
        """Answer until the client goes."""
        with (
            tempfile.TemporaryDirectory(prefix="edgekiln-session-") as home,
            # Programs write what they are told to in `home`, and must not reach what was admitted.
            tempfile.TemporaryDirectory(prefix="edgekiln-programs-") as programs,
            contextlib.suppress(ConnectionLost),
        ):
            self._home, self._programs = Path(home), Path(programs)
            while True:
                request, payload = self._receive()
                try:
                    answer = self._answer(request, payload)
                except EdgeKilnError as error:
                    answer = _fault(error)
                except (OSError, MemoryError, ValueError) as error:
                    # Of this machine, not of the client: the next request may go well.
                    answer = _fault(DeviceError(f"the board cannot do that: {error}"))
                wire.send(self._client, answer)

    def _answer(self, request: dict[str, object], payload: bytes) -> dict[str, object]:
        answer: object
        match verb := request.pop("verb", None):
            case "look":
                answer = self._look()
            case "have":
                answer = self._have(messages.read(FileRequest, request, "a client"))
            case "put":
                answer = self._put(payload)
            case "admit":
                answer = self._admit(messages.read(AdmitRequest, request, "a client"))
            case "run":
                answer = self._run(messages.read(RunRequest, request, "a client"))
            case _:
                raise DeviceError(f"no such verb: {verb!r}")
        encoded: dict[str, object] = codec.encode(answer)
        return encoded

    def _receive(self) -> tuple[dict[str, object], bytes]:
        """A client may think as long as it likes between requests, not within one."""
        self._client.settimeout(None)
        select.select([self._client], [], [])
        self._client.settimeout(SEND_S)
        return wire.receive(self._client, BUNDLES.max_bytes)

    def _look(self) -> BoardFacts:
        return BoardFacts(
            machine=host.machine(),
            state=host.state(),
            flags=tuple(sorted(host.cpu_flags())),
            affinity=host.affinity(),
            demands_signatures=self._signers is not None,
        )

    def _have(self, request: FileRequest) -> Presence:
        """Whether a file of this hash is kept here, undamaged; it is then in the session's home."""
        path = self._kept / _digest(request.digest)
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != path.name:
                path.unlink(missing_ok=True)
                return Presence(here=False)
            path.touch()
        except OSError:  # of somebody else's, say: it will be sent
            return Presence(here=False)
        place(self._home, content)
        return Presence(here=True)

    def _put(self, payload: bytes) -> Nothing:
        place(self._home, payload)
        with contextlib.suppress(OSError):
            self._kept.mkdir(parents=True, exist_ok=True)
            for path in self._kept.iterdir():
                if time.time() - path.stat().st_mtime > KEEP_DAYS * 86_400:
                    path.unlink(missing_ok=True)
        with contextlib.suppress(EdgeKilnError):  # keeping it for the next run is a favour
            place(self._kept, payload)
        return Nothing()

    def _admit(self, request: AdmitRequest) -> Nothing:
        """Verify a bundle that was put; its executable may be started from then on."""
        name = Path(request.name)
        try:
            content = (self._home / _digest(request.bundle)).read_bytes()
            signature = base64.b64decode(request.signature, validate=True)
        except (OSError, ValueError) as error:  # ValueError: no base64
            raise BundleError(f"{name}: the board did not get it whole", "send it again") from error
        if self._signers is not None:
            try:
                verify_content(content, name, signature, self._signers)
            except (BundleError, InputError) as error:  # InputError: its keys are gone
                demand = f"the board runs only what its {self._signers.name} has signed"
                raise type(error)(f"{error.message}; {demand}", error.hint) from error
        files = ProgramFile.parse(name, content).files
        program = place(self._programs, files[executable_name(files, str(name))])
        self._admitted.add(program.name)
        return Nothing()

    def _run(self, request: RunRequest) -> Ran:
        """A stored file and its arguments, which may name other stored files."""
        if not request.command:
            raise DeviceError("a command begins with a stored file")
        program, *arguments = request.command
        admitted = _digest(program) in self._admitted
        if self._signers is not None and not admitted:
            raise BundleError(
                "the board runs only executables of bundles that its "
                f"{self._signers.name} has signed",
                "sign the bundle, and run it by `edgekiln`",
            )
        for argument in arguments:
            if "/" in argument or "\0" in argument:
                raise DeviceError(
                    f"argument {argument!r} leads out of the session's folder",
                    "programs on a board read and write files of their session only",
                )
        path = (self._programs if admitted else self._home) / program
        try:
            done = self._execute([str(path), *arguments], min(request.timeout_s, MAX_RUN_S))
        except TimeoutError:
            return Ran(timed_out=True)
        except OSError as error:
            return Ran(cannot_start=error.strerror or str(error))
        return Ran(done=done)

    def _execute(self, command: list[str], timeout_s: float) -> Done:
        """Raises TimeoutError, ConnectionLost: the client is gone. The program is ended then."""
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            try:
                process = subprocess.Popen(
                    command,
                    cwd=self._home,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=True,
                    preexec_fn=_end_with_the_server,  # noqa: PLW1509  # a server has one thread
                )
                try:
                    self._wait(process, timeout_s)
                finally:
                    kill_group(process)  # and what an ended one has left running
            finally:
                strays.end()  # also what was started when a signal broke off `Popen`
            printed = [_printed(stream) for stream in (stdout, stderr)]
        return Done(exit_code=process.returncode, stdout=printed[0], stderr=printed[1])

    def _wait(self, process: "subprocess.Popen[bytes]", timeout_s: float) -> None:
        """Wait without looking again and again, which what is measured would notice."""
        ended, client = os.pidfd_open(process.pid), self._client.fileno()
        try:
            ready, _, _ = select.select([ended, client], [], [], max(timeout_s, 0.0))
        finally:
            os.close(ended)
        if not ready:
            raise TimeoutError
        if ended not in ready:  # a client that waits for an answer has nothing to say
            raise ConnectionLost("the client went away")


def _printed(stream: IO[bytes]) -> str:
    """What a program wrote, as far as a message has room for it."""
    stream.seek(0)
    text = stream.read(MAX_PRINTED).decode(errors="replace")
    while len(json.dumps(text)) > _ROOM:  # bytes that are no text need six there
        text = text[: len(text) // 2]
    return text


def _digest(name: str) -> str:
    """Raises DeviceError for anything that is not a file's hash, such as a path."""
    if not _DIGEST.fullmatch(name):
        raise DeviceError(
            f"{name!r} is no file of the board's", "files are named by the SHA-256 of their content"
        )
    return name


def _fault(error: EdgeKilnError) -> dict[str, object]:
    fault = BoardFault(exit_code=error.exit_code, message=error.message, hint=error.hint)
    return {"fault": codec.encode(fault)}


def _end_with_the_server() -> None:
    """Called in the child: the kernel ends it when the server dies, also by SIGKILL."""
    end_with_parent(signal.SIGKILL)

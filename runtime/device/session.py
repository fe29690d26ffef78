"""What one client may do on a board: look, store files by their content, start some of them."""

import base64
import binascii
import contextlib
import ctypes
import hashlib
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from edgekiln.runtime import codec, host
from edgekiln.runtime.bundle import ProgramFile, executable_name
from edgekiln.runtime.device import wire
from edgekiln.runtime.device.device import Done
from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.device.local import kill_group, place
from edgekiln.runtime.errors import BundleError, DeviceError, EdgeKilnError
from edgekiln.runtime.limits import BUNDLES
from edgekiln.runtime.signature import verify_content

KEEP_DAYS = 30  # files that no run has used for so long go, as on boards behind ssh
SEND_S = 60.0  # for the next piece of what a client sends
MAX_RUN_S = 86_400.0
MAX_PRINTED = 4 << 20  # bytes of a program's output that a client is sent, of each stream
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None)


class ClientSession:
    """All that happens from a client's hello to its end, however that comes."""

    def __init__(self, client: socket.socket, signers: Path | None) -> None:
        self._client, self._signers = client, signers
        self._kept = Path.home() / ".cache/edgekiln/boards"
        self._admitted: set[str] = set()  # hashes of executables in verified bundles

    def serve(self) -> None:
        """Answer until the client goes."""
        verbs = {
            "look": self._look,
            "have": self._have,
            "put": self._put,
            "admit": self._admit,
            "run": self._run,
        }
        with tempfile.TemporaryDirectory(prefix="edgekiln-session-") as home:
            self._home = Path(home)
            with contextlib.suppress(ConnectionLost):
                while True:
                    request, payload = self._receive()
                    verb = verbs.get(str(request.get("verb")))
                    try:
                        if verb is None:
                            raise DeviceError(f"no such verb: {request.get('verb')!r}")
                        answer = verb(request, payload)
                    except EdgeKilnError as error:
                        answer = {"fault": _fault(error)}
                    wire.send(self._client, answer)

    def _receive(self) -> tuple[dict[str, object], bytes]:
        """A client may think as long as it likes between requests, not within one."""
        self._client.settimeout(None)
        select.select([self._client], [], [])
        self._client.settimeout(SEND_S)
        return wire.receive(self._client, BUNDLES.max_bytes)

    def _look(self, _request: dict[str, object], _payload: bytes) -> dict[str, object]:
        return {
            "machine": codec.encode(host.machine()),
            "state": codec.encode(host.state()),
            "flags": sorted(host.cpu_flags()),
            "affinity": host.affinity(),
            "demands_signatures": self._signers is not None,
        }

    def _have(self, request: dict[str, object], _payload: bytes) -> dict[str, object]:
        """Whether a file of this hash is kept here, undamaged; it is then in the session's home."""
        path = self._kept / _digest(request.get("digest"))
        try:
            content = path.read_bytes()
        except OSError:
            return {"here": False}
        if hashlib.sha256(content).hexdigest() != path.name:
            path.unlink(missing_ok=True)
            return {"here": False}
        path.touch()
        place(self._home, content)
        return {"here": True}

    def _put(self, _request: dict[str, object], payload: bytes) -> dict[str, object]:
        place(self._home, payload)
        with contextlib.suppress(OSError):
            self._kept.mkdir(parents=True, exist_ok=True)
            for path in self._kept.iterdir():
                if time.time() - path.stat().st_mtime > KEEP_DAYS * 86_400:
                    path.unlink(missing_ok=True)
        with contextlib.suppress(EdgeKilnError):  # keeping it for the next run is a favour
            place(self._kept, payload)
        return {}

    def _admit(self, request: dict[str, object], _payload: bytes) -> dict[str, object]:
        """Verify a bundle that was put; its executable may be started from then on."""
        name = Path(str(request.get("name")))
        try:
            content = (self._home / _digest(request.get("bundle"))).read_bytes()
            signature = base64.b64decode(str(request.get("signature")), validate=True)
        except (OSError, binascii.Error) as error:
            raise BundleError(f"{name}: the board did not get it whole", "send it again") from error
        if self._signers is not None:
            try:
                verify_content(content, name, signature, self._signers)
            except BundleError as error:
                demand = f"the board runs only what its {self._signers.name} has signed"
                raise BundleError(f"{error.message}; {demand}", error.hint) from error
        files = ProgramFile.parse(name, content).files
        program = place(self._home, files[executable_name(files, str(name))])
        self._admitted.add(program.name)
        return {}

    def _run(self, request: dict[str, object], _payload: bytes) -> dict[str, object]:
        """A stored file and its arguments, which may name other stored files."""
        command, timeout_s = request.get("command"), request.get("timeout_s")
        if not isinstance(command, list) or not command or not isinstance(timeout_s, int | float):
            raise DeviceError("a command is a list of words, and a time in seconds")
        program, *arguments = map(str, command)
        if self._signers is not None and _digest(program) not in self._admitted:
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
        answer: dict[str, object] = {"timed_out": False, "cannot_start": "", "done": None}
        try:
            path = self._home / _digest(program)
            limit_s = min(float(timeout_s), MAX_RUN_S)
            answer["done"] = codec.encode(self._execute([str(path), *arguments], limit_s))
        except TimeoutError:
            answer["timed_out"] = True
        except OSError as error:
            answer["cannot_start"] = error.strerror or str(error)
        return answer

    def _execute(self, command: list[str], timeout_s: float) -> Done:
        """Raises TimeoutError, ConnectionLost: the client is gone. The program is ended then."""
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
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
            printed = []
            for stream in (stdout, stderr):
                stream.seek(0)
                printed.append(stream.read(MAX_PRINTED).decode(errors="replace"))
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


def _digest(name: object) -> str:
    """Raises DeviceError for anything that is not a file's hash, such as a path."""
    if not isinstance(name, str) or not _DIGEST.fullmatch(name):
        raise DeviceError(
            f"{name!r} is no file of the board's", "files are named by the SHA-256 of their content"
        )
    return name


def _fault(error: EdgeKilnError) -> dict[str, object]:
    return {"exit_code": error.exit_code, "message": error.message, "hint": error.hint}


def _end_with_the_server() -> None:
    """Called in the child: the kernel ends it when the server dies, also by SIGKILL."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

"""A board that is reached by a shell: by ssh, by adb."""

import contextlib
import hashlib
import platform
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from edgekiln.runtime import host
from edgekiln.runtime.bundle import ProgramFile, executable_name
from edgekiln.runtime.device import lease, records, scripts
from edgekiln.runtime.device.device import Done
from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.device.shell import Shell, first_line, run_script
from edgekiln.runtime.errors import BundleError, DeviceError, MissingToolError, StorageError
from edgekiln.runtime.home import user_name
from edgekiln.runtime.host import Machine, State
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.runtime.runner import check_machine
from edgekiln.runtime.signature import NAMESPACE, read_signature

T = TypeVar("T")
ARCHITECTURE = "architecture"  # a record of LOOK: what `uname -m` says
NO_SPACE = "No space left on device"


class ShellDevice:
    """Held by one run at a time; its files are kept by content, so that none is sent twice."""

    measures = True
    signers: Path | None = None
    shares_clock = False
    replacements = 0

    def __init__(
        self, shell: Shell, *, timeout_s: float = 30.0, keep: bool = True, root: str = "/"
    ) -> None:
        """
        Args:
            timeout_s: for everything but the program itself.
            keep: whether sent files stay on the board for the next run.
            root: where /proc and /sys are on the board.
        """
        self.name, self.sent_bytes = shell.name, 0
        self._shell, self._timeout_s, self._keep, self._root = shell, timeout_s, keep, root
        self._token = secrets.token_hex(8)
        self._holder: subprocess.Popen[bytes] | None = None
        self._contents: dict[str, bytes] = {}  # hash → content, of what must be there
        self._authorized: ProgramFile | None = None  # the board's own side has to let it in
        self._machine: Machine | None = None
        self._flags: frozenset[str] = frozenset()
        self._cpus: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        try:
            self._try(lambda: None)
        except BaseException:
            self._shell.close()  # there will be no exit without an entrance
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release()
        self._shell.close()

    def accept(self, spec: ProgramSpec, where: str) -> None:
        machine = self.machine()
        check_machine(spec, where, machine=machine.architecture, flags=self._flags, on=self.name)

    def authorize(self, opened: ProgramFile) -> None:
        self._try(lambda: self._admit(opened))
        self._authorized = opened

    def put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self._contents[digest] = content
        self._try(lambda: self._send(digest))
        return f"{self._shell.directory}/{digest}"

    def run(self, command: Sequence[str], timeout_s: float) -> Done:
        done = self._try(lambda: self._start(command, timeout_s))
        if done.returncode == scripts.DENIED:
            raise BundleError(f"{self.name}: {_last_line(done)}", "ask whom it trusts to sign it")
        return Done(
            exit_code=done.returncode,
            stdout=done.stdout.decode(errors="replace"),
            stderr=done.stderr.decode(errors="replace"),
        )

    def machine(self) -> Machine:
        if self._machine is None:
            with tempfile.TemporaryDirectory(prefix="edgekiln-board-") as home:
                root = Path(home)
                self._look(root)
                architecture = (root / ARCHITECTURE).read_text().strip()
                self._machine = host.machine(root, architecture)
                self._flags = host.cpu_flags(root / "proc/cpuinfo")
                self._cpus = host.affinity(root)
        return self._machine

    def state(self) -> State:
        with tempfile.TemporaryDirectory(prefix="edgekiln-board-") as home:
            self._look(Path(home))
            return host.state(Path(home))

    def affinity(self) -> tuple[int, ...]:
        self.machine()
        return self._cpus

    def follow(self, patterns: Sequence[str], period_s: float) -> "subprocess.Popen[bytes]":
        """What prints the first lines of those files as `records`, until it is killed."""
        arguments = (self._shell.directory, self._root, str(period_s), *patterns)
        command = self._shell.command(scripts.FOLLOW, arguments)
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    # Holding, and what happens when the connection breaks.

    def _try(self, action: Callable[[], T]) -> T:
        return lease.attempt(
            action,
            acquire=self._acquire,
            release=self._release,
            device=self.name,
            question="is the board on, and this its address?",
        )

    def _acquire(self) -> None:
        """Take the board, and bring back to it what this run has put there."""
        if self._holder is not None:
            return
        owner = f"{user_name()}@{platform.node()}"
        keep = "1" if self._keep else "0"
        arguments = (self._shell.directory, self._token, owner, keep)
        with tempfile.TemporaryFile() as errors:
            self._holder = subprocess.Popen(
                self._shell.command(scripts.LEASE, arguments),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
            said = first_line(self._holder, self._timeout_s)
            if said != "held":
                code = self._stop_holder()
                errors.seek(0)
                raise self._refused(code, said, errors.read().decode(errors="replace"))
        for digest in self._contents:
            # After a lost connection, too: the board may have been started again, or its files
            # removed.
            self._send(digest)
        if self._authorized is not None:
            self._admit(self._authorized)

    def _refused(self, code: int, said: str, stderr: str) -> Exception:
        try:
            code = self._shell.outcome(code, stderr)
        except ConnectionLost as error:
            return error
        if code == scripts.BUSY:
            return DeviceError(
                f"{self.name} is busy: {said or 'another run'} measures there",
                hint="wait for it; a tracker queues runs by itself: --device rpc://…",
            )
        if code == scripts.LACKING:
            return MissingToolError(
                f"{self.name}: {said}", hint="install util-linux and coreutils there, or BusyBox"
            )
        if NO_SPACE in stderr:
            return self._full()
        if said:
            return DeviceError(
                f"{self.name}: it printed {said[:80]!r}, which none of our commands does",
                hint="let no start-up file of the shell there print anything",
            )
        last = stderr.strip().splitlines()[-1:] or [f"no answer within {self._timeout_s:.0f} s"]
        return DeviceError(
            f"{self.name}: cannot use {self._shell.directory}: {last[0]}",
            hint="set `dir` of the device to a directory you may write to",
        )

    def _release(self) -> None:
        if self._holder is not None:
            self._stop_holder()

    def _stop_holder(self) -> int:
        """Its stdin ends, and the board cleans up; without a connection, it does by itself."""
        holder, self._holder = self._holder, None
        assert holder is not None
        for stream in (holder.stdin, holder.stdout):  # what else it says is not read
            with contextlib.suppress(OSError):
                assert stream is not None
                stream.close()
        try:
            return holder.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            holder.kill()
            return holder.wait()

    # The board's own policy

    def _admit(self, opened: ProgramFile) -> None:
        """Let the board verify the bundle itself, where it demands signatures."""
        if self._script(scripts.DEMANDS, self._root).returncode != 0:
            return
        where = str(opened.path)
        name = executable_name(opened.files, where)
        parts = (opened.content, read_signature(opened.path), opened.files[name])
        digests = [hashlib.sha256(part).hexdigest() for part in parts]
        for digest, part in zip(digests, parts, strict=True):
            self._contents[digest] = part
            self._send(digest)
        done = self._script(scripts.ADMIT, self._root, *digests, name, NAMESPACE)
        if done.returncode == scripts.LACKING:
            raise MissingToolError(
                f"{self.name} demands signatures: {_last_line(done)}",
                hint="install openssh-client and tar there, or remove its allowed_signers",
            )
        if done.returncode == scripts.DENIED:
            raise BundleError(
                f"{where}: {_last_line(done)}; {self.name} runs only what its own "
                "allowed_signers have signed",
                hint="do not run it; ask who made it for a signed copy",
            )
        if done.returncode != 0:
            raise ConnectionLost(_last_line(done))

    def _start(
        self, command: Sequence[str], timeout_s: float
    ) -> "subprocess.CompletedProcess[bytes]":
        return self._script(scripts.RUN, self._root, *command, timeout_s=timeout_s)

    # Files

    def _send(self, digest: str) -> None:
        content = self._contents[digest]
        # Named by its hash, a file that is there is the right one.
        if self._script(scripts.HAVE, digest).returncode == 0:
            return
        done = self._script(scripts.PUT, digest, stdin=content)
        if done.returncode == 0:
            self.sent_bytes += len(content)
            return
        said = done.stderr.decode(errors="replace").strip()
        if NO_SPACE in said:
            raise self._full()
        if done.returncode == scripts.GARBLED:
            raise ConnectionLost(f"of {len(content)} bytes, others arrived")
        raise StorageError(
            f"{self.name}: cannot write below {self._shell.directory}: {said}",
            hint="set `dir` of the device to a directory you may write to",
        )

    def _full(self) -> StorageError:
        return StorageError(
            f"{self.name}: no space left for {self._shell.directory}",
            hint="free some space there, or set `dir` of the device to another disk",
        )

    def _look(self, root: Path) -> None:
        """Copy host.FILES of the board below `root`, and ARCHITECTURE."""
        for name, content in self._try(self._records).items():
            records.write(root, name, content)

    def _records(self) -> Mapping[str, bytes]:
        done = self._script(scripts.LOOK, self._root, *host.FILES)
        found = dict(records.parse(done.stdout))
        if done.returncode != 0 or ARCHITECTURE not in found:
            raise ConnectionLost(f"it does not say what it is: {_last_line(done)}")
        return found

    def _script(
        self, script: str, *arguments: str, stdin: bytes = b"", timeout_s: float | None = None
    ) -> "subprocess.CompletedProcess[bytes]":
        """`timeout_s` is a program's; without one, a board that does not answer is lost."""
        try:
            limit = timeout_s or self._timeout_s
            return run_script(self._shell, script, *arguments, stdin=stdin, timeout_s=limit)
        except TimeoutError as error:
            if timeout_s is not None:
                raise
            raise ConnectionLost(f"no answer within {self._timeout_s:.0f} s") from error


def _last_line(done: "subprocess.CompletedProcess[bytes]") -> str:
    """The last line of what a script said is wrong."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"

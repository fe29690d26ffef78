"""What a device is: a place for files, and a processor that runs them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.host import Machine, State
from edgekiln.runtime.manifest import ProgramSpec

LOCAL = "local"


@dataclass(frozen=True, kw_only=True)
class Done:
    """A program that ended."""

    exit_code: int  # negative: the number of the signal that killed it
    stdout: str
    stderr: str


class Device(Protocol):
    """Enter it to take it, leave it to give it back: nothing of the run stays there.

    Every method may raise DeviceError: busy, not reachable, or lost for good.
    """

    name: str  # "local", "ssh://pi@10.0.0.7"
    measures: bool  # False: emulated, its times mean nothing
    shares_clock: bool  # with this process
    replacements: int  # how often it was lost, and became another one of its kind
    # A public key, or a file of allowed signers, see `signature.verify`; None: anybody's bundles.
    signers: Path | None

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def accept(self, spec: ProgramSpec, where: str) -> None:
        """Raises BundleError when the device cannot execute the program's instructions."""
        ...

    def authorize(self, opened: ProgramFile) -> None:
        """Show the file to the device's own side, which may demand signatures by itself.

        Raises BundleError when that refuses it. What `put` sends before is not started.
        """
        ...

    def put(self, content: bytes) -> str:
        """The path of an executable file with this content; what is there is not sent again.

        Raises StorageError when there is no room for it.
        """
        ...

    def run(self, command: Sequence[str], timeout_s: float) -> Done:
        """Run a file of `put`, with arguments, and wait for its end.

        Raises TimeoutError, after ending it; other OSErrors when it cannot be started.
        """
        ...

    def machine(self) -> Machine:
        """What it is: CPU, cores, memory, kernel."""
        ...

    def state(self) -> State: ...

    def affinity(self) -> tuple[int, ...]:
        """The CPUs that programs may use there."""
        ...

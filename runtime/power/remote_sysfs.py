"""A board's sensors, read from here: their files are copied to this machine over and over.

Every sensor's own code then works on the copies. A reading is as old as the way to the board is
long, milliseconds, and trials are at least 20 periods of 50 ms.
"""

import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from edgekiln.runtime.device import records
from edgekiln.runtime.device.shell_device import ShellDevice
from edgekiln.runtime.power.meter import SensorError

if TYPE_CHECKING:
    import subprocess

FIRST_COPY_TIMEOUT_S = 10.0  # for the first copies
STOP_S = 2.0


class RemoteSysfsPoller:
    """Keeps below `root` the files of a board that is held."""

    def __init__(self, board: ShellDevice) -> None:
        self._board = board
        self._stream: _Stream | None = None

    def __enter__(self) -> Self:
        self.root = Path(tempfile.mkdtemp(prefix="edgekiln-sensors-"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def follow(self, patterns: Sequence[str], period_s: float) -> None:
        """Keep copies of these files fresh, and no longer of others. Returns when there are some.

        Raises:
            SensorError: nothing arrives.
        """
        self._stop()
        self._stream = _Stream(self._board.follow(patterns, period_s), self.root)
        if not self._stream.complete.wait(FIRST_COPY_TIMEOUT_S):
            raise SensorError(
                f"{self._board.name} sends no readings within {FIRST_COPY_TIMEOUT_S:.0f} s",
                hint="is the board overloaded? measure there: python -m edgekiln.runtime bench",
            )

    def _stop(self) -> None:
        if self._stream is not None:
            self._stream.stop()
            self._stream = None


class _Stream:
    """Writes what arrives. When it ends by itself the copies vanish: readings fail then, instead of
    standing still.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", root: Path) -> None:
        self.complete = threading.Event()
        self._process, self._root, self._wanted = process, root, True
        self._thread = threading.Thread(target=self._receive, name="remote sysfs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._wanted = False
        self._process.kill()
        self._thread.join(STOP_S)  # what it left on its pipe may go on, and is nobody's any more
        self._process.wait()

    def _receive(self) -> None:
        assert self._process.stdout is not None
        rest = b""
        with self._process.stdout as stream:
            while line := stream.readline():
                *whole, rest = (rest + line).split(records.END)
                for each in whole:
                    for name, content in records.parse(each):
                        records.write(self._root, name, content)
                    self.complete.set()
        if self._wanted:
            shutil.rmtree(self._root, ignore_errors=True)

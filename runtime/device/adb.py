"""Android's debug bridge, by its client. Programs must be static: Android has another C library."""

import re
import shlex
import shutil
from collections.abc import Sequence

from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.errors import MissingToolError, debian_hint

DIRECTORY = "/data/local/tmp/edgekiln"  # where the shell user may start programs
DONE = 78  # instead of 0, with which the client also ends when a phone is unplugged
# The client's own words, on stderr with exit code 1; a program's errors look otherwise.
LOST = re.compile(
    r"^(?:adb: |error: (?:device |no devices|closed|more than one|protocol fault|insufficient)).*",
    re.MULTILINE,
)


class AdbShell:
    """A phone with USB debugging, or one reached by `adb connect`."""

    def __init__(self, serial: str = "", *, directory: str = "") -> None:
        """`serial` as `adb devices` lists it; "" where there is one phone only."""
        if shutil.which("adb") is None:
            raise MissingToolError("adb is not installed", debian_hint("adb"))
        self.name = f"adb:{serial}"
        self.directory = directory or DIRECTORY
        self._client = ["adb", *(("-s", serial) if serial else ())]

    def command(self, script: str, arguments: Sequence[str]) -> list[str]:
        """-T: bytes as they are, stderr and the exit code apart (protocol "shell_v2")."""
        remote = shlex.join(["sh", "-c", script, "edgekiln", *arguments])
        return [*self._client, "shell", "-T", f"{remote} && exit {DONE}"]

    def outcome(self, exit_code: int, stderr: str) -> int:
        if exit_code == 0:
            raise ConnectionLost("the phone went away")
        if said := LOST.search(stderr):
            raise ConnectionLost(said.group().strip())
        return 0 if exit_code == DONE else exit_code

    def close(self) -> None:
        """Nothing is held: the client's server is everybody's."""

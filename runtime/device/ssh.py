"""OpenSSH's client: its keys, its configuration, its checks of host keys."""

import contextlib
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.errors import MissingToolError, debian_hint

FAILED = 255  # ssh's own exit code, for every failure of the connection
DIRECTORY = ".cache/edgekiln"  # below the home directory, where commands start
SOCKETS = "/tmp"  # not $TMPDIR: a socket's path has at most 107 characters
CONNECT_S = 10
ALIVE_S = 5  # a connection is lost that is silent for three times as long


class SshShell:
    """One connection, shared by all commands: the first opens it."""

    def __init__(
        self, host: str, port: int | None = None, *, directory: str = "", config: str = ""
    ) -> None:
        """
        Args:
            host: "user@name", or a name of the configuration.
            config: used instead of ~/.ssh/config.

        Raises:
            MissingToolError: no client.
        """
        if shutil.which("ssh") is None:
            raise MissingToolError("ssh is not installed", debian_hint("openssh-client"))
        self.name = f"ssh://{host}" + (f":{port}" if port else "")
        self.directory = directory or DIRECTORY
        self._host = host
        self._home = ""  # of the shared connection's socket, while there is one
        options = {
            "BatchMode": "yes",  # never ask: nobody may be there
            "StrictHostKeyChecking": "yes",
            "ControlMaster": "auto",
            "ControlPersist": "60",
            "ConnectTimeout": str(CONNECT_S),
            "ServerAliveInterval": str(ALIVE_S),
            "ServerAliveCountMax": "3",
            "LogLevel": "ERROR",
        }
        self._options = [f"-o{key}={value}" for key, value in options.items()]
        self._options += ["-F", config] if config else []
        self._options += ["-p", str(port)] if port else []

    def command(self, script: str, arguments: Sequence[str]) -> list[str]:
        """ssh joins its arguments and gives them to the user's shell there: quoted once."""
        if not self._home:
            self._home = tempfile.mkdtemp(prefix="edgekiln-ssh-", dir=SOCKETS)
        remote = shlex.join(["sh", "-c", script, "edgekiln", *arguments])
        return ["ssh", *self._connection(), "--", self._host, remote]

    def outcome(self, exit_code: int, stderr: str) -> int:
        if exit_code != FAILED:
            return exit_code
        said = [line for line in stderr.strip().splitlines() if not line.startswith("@")]
        raise ConnectionLost(said[-1].strip() if said else "ssh said nothing")

    def close(self) -> None:
        if self._home:
            command = ["ssh", *self._connection(), "-O", "exit", "--", self._host]
            with contextlib.suppress(subprocess.TimeoutExpired):  # it ends by itself, later
                subprocess.run(command, capture_output=True, check=False, timeout=CONNECT_S)
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = ""

    def _connection(self) -> list[str]:
        return [*self._options, f"-oControlPath={self._home}/%C"]

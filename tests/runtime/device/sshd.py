"""A real sshd on loopback: own port, own keys, own configuration, all in a directory."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

LOG = "sshd.log"


@dataclass
class Sshd:
    """`config` is what the client needs to log in."""

    port: int
    config: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    def sessions(self) -> list[int]:
        """Processes of open connections."""
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return [int(pid) for pid in Path(children).read_text().split()]

    def stop(self) -> None:
        self.cut()
        self.process.terminate()
        self.process.wait()

    def reboot(self, seconds: float) -> None:
        """Nobody answers for so long, and no program of before is left."""
        self.cut()
        self.process.terminate()
        self.process.wait()
        time.sleep(seconds)
        self.process = _listen(self.config.parent)

    def cut(self) -> None:
        """End all connections as a pulled cable would: no program on the board is told."""
        for pid in self.sessions():
            _kill_sshd(pid)


def _kill_sshd(pid: int) -> None:
    """The processes of sshd from this one on, not what runs inside the session."""
    with contextlib.suppress(OSError):
        home = Path(f"/proc/{pid}")
        if (home / "comm").read_text().strip().startswith("sshd"):
            below = (home / f"task/{pid}/children").read_text().split()
            os.kill(pid, signal.SIGKILL)
            for child in below:
                _kill_sshd(int(child))


def start(home: Path) -> Sshd:
    """Raises AssertionError with the log when it does not come up."""
    Path("/run/sshd").mkdir(exist_ok=True)  # its own wish, for separating privileges
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name]
        subprocess.run(command, check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (home / "authorized").write_bytes((home / "user.pub").read_bytes())
    server = {
        "ListenAddress": "127.0.0.1", "Port": port, "HostKey": home / "host",
        "AuthorizedKeysFile": home / "authorized", "StrictModes": "no", "UsePAM": "no",
        "PidFile": "none", "PasswordAuthentication": "no", "PermitRootLogin": "yes",
        "SetEnv": f"HOME={home}",  # no start-up files of whoever runs the tests
    }  # fmt: skip
    known = f"[127.0.0.1]:{port} {(home / 'host.pub').read_text()}"
    (home / "known").write_text(known)
    client = {
        "IdentityFile": home / "user", "IdentitiesOnly": "yes",
        "UserKnownHostsFile": home / "known", "GlobalKnownHostsFile": "none",
    }  # fmt: skip
    for name, options in (("sshd_config", server), ("ssh_config", client)):
        (home / name).write_text("".join(f"{key} {value}\n" for key, value in options.items()))
    process = _listen(home)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return Sshd(port=port, config=home / "ssh_config", process=process)
        assert process.poll() is None, (home / LOG).read_text()
        time.sleep(0.05)
    raise AssertionError((home / LOG).read_text())


def _listen(home: Path) -> subprocess.Popen[bytes]:
    assert SSHD is not None
    return subprocess.Popen([SSHD, "-D", "-f", home / "sshd_config", "-E", home / LOG])

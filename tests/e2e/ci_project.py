"""A project as a user of `edgekiln ci` has it: a directory, a store, a command."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from edgekiln.compiler.ci.result import CiResult, read
from tests.e2e.ci_models import DATA, Flaw, classifier

TARGET = "x86-64-v3"
COMMAND = (sys.executable, "-c", "from edgekiln.compiler.cli import main; main()", "ci")
CONFIG = f"""
[defaults]
targets = ["{TARGET}"]
data = "{DATA}"
bench-seconds = 0.02
gates = {{ max-accuracy-drop = 1, max-arena-bytes = 4096, max-slowdown = 5 }}
[models.net]
model = "nets/net.onnx"
"""
JOB = f"net/{TARGET}/int8"


class Project:
    """A directory as a user has it, with a store of its own."""

    def __init__(self, home: Path, store: Path, hash_seed: int = 0) -> None:
        self.home = home
        self.env = {
            **os.environ, "EDGEKILN_STORE": str(store), "PYTHONHASHSEED": str(hash_seed),
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        (home / "nets").mkdir(parents=True)
        (home / "edgekiln.toml").write_text(CONFIG)
        self.model()

    def model(self, flaw: Flaw = "none") -> None:
        classifier(self.home / "nets" / "net.onnx", flaw)

    def set(self, old: str, new: str) -> None:
        path = self.home / "edgekiln.toml"
        path.write_text(path.read_text().replace(old, new))

    def ci(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments], cwd=self.home, env=self.env, check=False, timeout=300,
            capture_output=True, text=True,
        )  # fmt: skip

    def killed_after(self, seconds: float) -> bool:
        """Start a run and kill it and its processes, unless it is done before."""
        with subprocess.Popen(
            COMMAND, cwd=self.home, env=self.env, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return True
        return False

    @property
    def result(self) -> CiResult:
        return read(self.home / "dist")

    def failed(self) -> dict[str, int]:
        """Gate, or what failed → exit code."""
        found = {v.gate: v.exit_code for v in self.result.verdicts if v.failed}
        for job in self.result.jobs:
            if job.failure:
                found[job.failure.doing] = job.failure.exit_code
        return found

    def lasting(self) -> Mapping[str, bytes]:
        """The files that must be the same on every run."""
        sums = (self.home / "dist" / "SHA256SUMS").read_text()
        names = [line.split()[1] for line in sums.splitlines()]
        files = {name: (self.home / "dist" / name).read_bytes() for name in (*names, "SHA256SUMS")}
        return files | {"edgekiln.lock": (self.home / "edgekiln.lock").read_bytes()}

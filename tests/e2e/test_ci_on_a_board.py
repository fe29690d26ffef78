"""`edgekiln ci` with a board: a real sshd that runs only what a real ssh-keygen has signed."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from edgekiln.runtime.signature import verify
from tests.e2e.ci_project import TARGET, Project
from tests.runtime.device import sshd as server

pytestmark = pytest.mark.skipif(
    server.SSHD is None or not shutil.which("ssh-keygen"), reason="OpenSSH is not installed"
)


@pytest.fixture
def board(project: Project) -> Iterator[Project]:
    """The project, whose target is a board that trusts the key `team`."""
    sshd = server.start(project.home.parent)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "team", "-f", "team"]
    subprocess.run(command, check=True, cwd=project.home)
    (project.home / "devices.toml").write_text(
        f'[shelf]\nurl = "{sshd.url}"\ndir = "{project.home.parent / "board"}"\n'
        f'ssh-config = "{sshd.config}"\nrequire-signature = "team.pub"\n'
    )
    project.set("bench-seconds = 0", "bench-seconds = 0.02")
    with (project.home / "edgekiln.toml").open("a") as config:
        config.write(f'[[overrides]]\ntarget = "{TARGET}"\ndevice = "shelf"\n')
    project.env.pop("EDGEKILN_DEVICES", None)
    yield project
    sshd.stop()


def test_a_signed_bundle_is_checked_and_measured_there(board: Project) -> None:
    done = board.ci("--key", "team")
    assert done.returncode == 0, done.stderr
    assert " µs on shelf |" in done.stdout
    (job,) = board.result.jobs
    assert job.check is not None
    assert (job.check.where, job.check.device) == ("device", "shelf")
    assert job.bench is not None
    assert (job.bench.device, job.bench.peers, job.bench.remembered) == ("shelf", (), False)
    dist = board.home / "dist"
    assert verify(dist / job.bundle, board.home / "team.pub") == "team"
    assert f"{job.bundle}.sig" in (dist / "SHA256SUMS").read_text()
    assert "measured" in board.ci("--key", "team").stderr  # not again: the bytes are the same


def test_an_unsigned_one_is_refused_and_not_shipped(board: Project) -> None:
    done = board.ci()
    assert (done.returncode, board.failed()) == (8, {"check": 8})
    assert "not signed; ssh://" in done.stderr
    assert "runs only what team.pub has signed" in done.stderr
    assert not [*(board.home / "dist").glob("*.ekb*")]


def test_a_board_that_is_off_fails_its_job_by_name(project: Project) -> None:
    (project.home / "devices.toml").write_text('[shelf]\nurl = "ssh://nobody@127.0.0.1:1"\n')
    with (project.home / "edgekiln.toml").open("a") as config:
        config.write(f'[[overrides]]\ntarget = "{TARGET}"\ndevice = "shelf"\n')
    done = project.ci()
    assert (done.returncode, project.failed()) == (13, {"check": 13})
    assert "ssh://nobody@127.0.0.1:1: connection lost: " in done.stderr


def test_a_key_that_is_not_there_is_said_before_anything_runs(project: Project) -> None:
    done = project.ci("--key", "team")
    assert (done.returncode, done.stderr.splitlines()[0]) == (3, "error: no such key: team")
    assert not (project.home / "dist").exists()

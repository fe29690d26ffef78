"""A board that runs only what somebody trusted has signed; a real sshd, a real ssh-keygen."""

import getpass
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekiln.runtime import bench
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.device import address, lease
from edgekiln.runtime.device.example import check_example
from edgekiln.runtime.device.shell_device import ShellDevice
from edgekiln.runtime.device.ssh import SshShell
from edgekiln.runtime.errors import BundleError, InputError
from edgekiln.runtime.signature import sign, verify
from tests.runtime.device import sshd as server

pytestmark = pytest.mark.skipif(
    server.SSHD is None or not shutil.which("ssh-keygen"), reason="OpenSSH is not installed"
)


@pytest.fixture
def keys(tmp_path):
    """`team` is whom the board trusts; `other` is somebody else."""
    for name in ("team", "other"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", tmp_path / name]
        subprocess.run(command, check=True)
    return tmp_path


@pytest.fixture
def home(tmp_path):
    """The directory on the board."""
    return tmp_path / "board"


@pytest.fixture
def board(sshd, keys, home, monkeypatch):
    """Opens the board as devices.toml names it."""
    table = keys / "devices.toml"
    table.write_text(
        f'[board]\nurl = "{sshd.url}"\ndir = "{home}"\nssh-config = "{sshd.config}"\n'
        'require-signature = "team.pub"\n'
    )
    monkeypatch.setenv("EDGEKILN_DEVICES", str(table))
    return lambda: address.open_device(address.find("board"))


def sent_to(home):
    """Files of bundles on the board."""
    return [path.name for path in home.iterdir() if len(path.name) == 64] if home.exists() else []


def test_what_the_team_has_signed_is_checked_and_measured(board, checkable, keys):
    path = checkable()
    sign(path, keys / "team")
    with board() as device:
        assert check_example(path, device) == ("y",)
    assert bench.bench(path, trials=1, min_seconds=0.02, device=board()).median_s > 0


def checked(path, device):
    with device:
        check_example(path, device)


USES = {
    "check": checked,
    "bench": lambda path, device: bench.bench(path, trials=1, min_seconds=0.02, device=device),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("signer", ["nobody", "other", "changed"])
def test_anything_else_is_refused_before_a_byte_is_sent(board, checkable, keys, home, signer, use):
    path = checkable()
    if signer == "changed":
        sign(path, keys / "team")
        checkable(wrong=True)
        reason = "changed after it was signed"
    elif signer == "other":
        sign(path, keys / "other")
        reason = "signed by somebody else"
    else:
        reason = "not signed"
    with pytest.raises(BundleError) as caught:
        USES[use](path, board())
    name = board().name
    assert caught.value.message == f"{path}: {reason}; {name} runs only what team.pub has signed"
    assert caught.value.exit_code == 8
    assert sent_to(home) == []


def test_a_key_that_is_not_there_lets_nothing_through(board, checkable, keys, home):
    path = checkable()
    sign(path, keys / "team")
    (keys / "team.pub").unlink()
    with pytest.raises(InputError, match="no such file of allowed signers"), board() as device:
        check_example(path, device)
    assert sent_to(home) == []


@dataclass(frozen=True, kw_only=True)
class StrictBoard:
    """A board, and the file that says whom it trusts."""

    connect: Callable[[], ShellDevice]
    policy: Path

    def __call__(self) -> ShellDevice:
        return self.connect()


@pytest.fixture
def strict(sshd, home, tmp_path):
    """A board whose own /etc names the team, whatever this side's devices.toml says."""
    root = tmp_path / "root"
    (root / "etc/edgekiln").mkdir(parents=True)
    (root / "proc").symlink_to("/proc")

    def connect() -> ShellDevice:
        user = f"{getpass.getuser()}@127.0.0.1"
        shell = SshShell(user, sshd.port, directory=str(home), config=str(sshd.config))
        return ShellDevice(shell, root=str(root))

    return StrictBoard(connect=connect, policy=root / "etc/edgekiln/allowed_signers")


def allow(strict, keys, *names):
    lines = [f"{name},{name}@example.org {(keys / f'{name}.pub').read_text()}" for name in names]
    strict.policy.write_text("# who may\n" + "".join(lines))


def test_a_board_with_a_policy_runs_what_those_have_signed(strict, checkable, keys):
    allow(strict, keys, "other", "team")
    path = checkable()
    sign(path, keys / "team")
    with strict() as device:
        assert check_example(path, device) == ("y",)
    assert bench.bench(path, trials=1, min_seconds=0.02, device=strict()).median_s > 0


def test_a_key_on_several_lines_may_be_for_bundles_on_one_of_them(strict, checkable, keys):
    """ssh-keygen finds the first of them alone, which is for git."""
    kind, code, _ = (keys / "team.pub").read_text().split()
    strict.policy.write_text(
        f'git namespaces="git" {kind} {code}\nci namespaces="edgekiln-bundle" {kind} {code}\n'
    )
    path = checkable()
    sign(path, keys / "team")
    assert verify(path, strict.policy) == "ci"
    with strict() as device:
        assert check_example(path, device) == ("y",)
        checkable(wrong=True)
        with pytest.raises(BundleError, match="changed after it was signed; ssh://"):
            check_example(path, device)


@pytest.mark.parametrize("link", ["allowed_signers", "."])
def test_a_policy_that_leads_nowhere_lets_nothing_through(strict, checkable, keys, link):
    """A link to nothing, or a folder that cannot be looked into: the demand is there."""
    home = strict.policy.parent
    if link == ".":
        home.rmdir()
        home.symlink_to(home.name)
    else:
        strict.policy.symlink_to("nowhere")
    path = checkable()
    sign(path, keys / "team")
    with strict() as device, pytest.raises(BundleError):
        check_example(path, device)


def test_a_board_with_a_policy_refuses_all_else(strict, checkable, keys):
    allow(strict, keys, "team")
    path = checkable()
    with strict() as device:
        with pytest.raises(BundleError, match=": not signed"):
            check_example(path, device)
        sign(path, keys / "other")
        with pytest.raises(BundleError, match="signed by somebody else; ssh://"):
            check_example(path, device)
        sign(path, keys / "team")
        checkable(wrong=True)
        with pytest.raises(BundleError, match="changed after it was signed; ssh://"):
            check_example(path, device)


def test_a_board_with_a_policy_starts_no_other_file(strict, checkable, keys):
    """From a client that does not ask, in a session that a signed bundle has opened."""
    allow(strict, keys, "team")
    path = checkable()
    sign(path, keys / "team")
    with strict() as device:
        check_example(path, device)
        script = device.put(b"#!/bin/sh\necho ran\n")
        with pytest.raises(BundleError, match="the board runs only what those of its"):
            device.run([script], 5.0)
    with strict() as device:  # what was admitted in one session is not in the next
        runner = device.put(ProgramFile.open(path).files["runner"])
        with pytest.raises(BundleError, match="the board runs only"):
            device.run([runner, "info"], 5.0)


def test_a_policy_that_cannot_be_read_lets_nothing_through(strict, checkable, keys):
    strict.policy.mkdir()
    path = checkable()
    sign(path, keys / "team")
    with strict() as device, pytest.raises(BundleError):
        check_example(path, device)


def test_an_admission_survives_a_lost_connection(strict, checkable, keys, sshd, monkeypatch):
    monkeypatch.setattr(lease, "PAUSE_S", 0.01)
    allow(strict, keys, "team")
    path = checkable()
    sign(path, keys / "team")
    with strict() as device:
        check_example(path, device)
        sshd.cut()
        assert check_example(path, device) == ("y",)

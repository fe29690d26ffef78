"""Signatures by a real ssh-keygen."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgekiln.runtime
from edgekiln.runtime import bench, signature, trust
from edgekiln.runtime.device.example import check_example as check_on
from edgekiln.runtime.device.local import LocalDevice
from edgekiln.runtime.errors import BundleError, InputError
from edgekiln.runtime.example_check import check_example
from edgekiln.runtime.signature import sign, verify
from tests.compiler.ci.results import write_bundle
from tests.runtime.conftest import toy_sums

pytestmark = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs ssh-keygen")


def key(path: Path, comment: str = "builder@example.org") -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "net.ekb"
    write_bundle(path)
    return path


def test_a_signed_bundle_names_its_signer(tmp_path: Path, bundle: Path) -> None:
    mine = key(tmp_path / "mine")
    assert sign(bundle, mine) == tmp_path / "net.ekb.sig"
    assert verify(bundle, tmp_path / "mine.pub") == "builder@example.org"
    kind, code, _ = (tmp_path / "mine.pub").read_text().split()
    allowed = tmp_path / "allowed"
    allowed.write_text(f"# who may sign\nci@example.org {kind} {code}\n")
    assert verify(bundle, allowed) == "ci@example.org"


def test_a_changed_bundle_is_refused(tmp_path: Path, bundle: Path) -> None:
    sign(bundle, key(tmp_path / "mine"))
    bundle.write_bytes(bundle.read_bytes() + bytes(512))
    with pytest.raises(BundleError, match=r"net\.ekb: changed after it was signed") as error:
        verify(bundle, tmp_path / "mine.pub")
    assert error.value.exit_code == 8


def test_another_signer_is_refused_and_so_is_none(tmp_path: Path, bundle: Path) -> None:
    other = key(tmp_path / "other")
    with pytest.raises(BundleError, match=r"net\.ekb: not signed"):
        verify(bundle, tmp_path / "other.pub")
    sign(bundle, key(tmp_path / "mine"))
    with pytest.raises(BundleError, match="signed by somebody else"):
        verify(bundle, other.with_suffix(".pub"))


def test_a_signature_made_for_something_else_is_refused(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = key(tmp_path / "mine")
    with monkeypatch.context() as patch:
        patch.setattr(signature, "NAMESPACE", "git")
        sign(bundle, mine)
    with pytest.raises(BundleError):
        verify(bundle, tmp_path / "mine.pub")


def test_what_is_no_key_or_no_bundle_is_named(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(InputError, match="no such key: "):
        sign(bundle, tmp_path / "gone")
    wrong = tmp_path / "wrong"
    wrong.write_text("not a key")
    wrong.chmod(0o600)
    with pytest.raises(InputError, match="wrong: cannot sign with it"):
        sign(bundle, wrong)
    assert not (tmp_path / "net.ekb.sig").exists()
    with pytest.raises(BundleError):
        sign(wrong, key(tmp_path / "mine"))


def swapping_ssh_keygen(directory: Path, disk: Path, good: Path) -> str:
    """A PATH whose ssh-keygen puts the signed bundle in place before it looks at anything."""
    directory.mkdir()
    wrapper = directory / "ssh-keygen"
    real = shutil.which("ssh-keygen")
    wrapper.write_text(f'#!/bin/sh\ncp "{good}" "{disk}"\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def loaded(path: Path, signers: Path) -> None:
    edgekiln.runtime.load(path, signers=signers)


def checked(path: Path, signers: Path) -> None:
    check_example(path, signers=signers)


def measured(path: Path, signers: Path) -> None:
    bench.compare(path, (), trials=1, min_seconds=0.01, signers=signers)


def on_a_device(path: Path, signers: Path) -> None:
    with LocalDevice() as device:
        device.signers = signers
        check_on(path, device)


@pytest.mark.parametrize("use", [loaded, checked, measured, on_a_device])
def test_what_is_verified_is_what_was_read(
    tmp_path: Path,
    toy_bundle: Callable[..., Path],
    toy_runner: bytes,
    monkeypatch: pytest.MonkeyPatch,
    use: Callable[[Path, Path], None],
) -> None:
    """The file is another one after it was read, and before the signature is looked at."""
    x = np.zeros((1, 3, 4, 4), np.float32)
    files = {
        "runner": toy_runner,
        "example/input_0.bin": x.tobytes(),
        "example/output_0.bin": toy_sums(x).astype(np.float32).tobytes(),
    }
    good = tmp_path / "good.ekb"
    disk = toy_bundle(extra=files)
    shutil.copy(disk, good)
    mine = key(tmp_path / "mine")
    sign(disk, mine)
    signers = tmp_path / "mine.pub"
    use(disk, signers)  # as long as nobody changes it
    toy_bundle(extra={**files, "note": b"unsigned"})
    monkeypatch.setenv("PATH", swapping_ssh_keygen(tmp_path / "bin", disk, good))
    with pytest.raises(BundleError, match="changed after it was signed"):
        use(disk, signers)


def test_a_machine_with_a_policy_runs_nothing_unsigned(
    tmp_path: Path, toy_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toy_bundle()
    kind, code, _ = key(tmp_path / "mine").with_suffix(".pub").read_text().split()
    policy = tmp_path / "allowed_signers"
    policy.write_text(f"team {kind} {code}\n")
    edgekiln.runtime.load(path)
    monkeypatch.setattr(trust, "POLICY", policy)
    with pytest.raises(BundleError) as caught:
        edgekiln.runtime.load(path)
    demand = "this machine runs only what allowed_signers has signed"
    assert caught.value.message == f"{path}: not signed; {demand}"
    sign(path, tmp_path / "mine")
    edgekiln.runtime.load(path)


def test_a_policy_that_may_not_be_looked_at_lets_nothing_through(
    tmp_path: Path, toy_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made its folder private has not taken the demand away."""
    path = toy_bundle()
    sign(path, key(tmp_path / "mine"))
    (tmp_path / "edgekiln").symlink_to("edgekiln")  # no user may search this, root neither
    monkeypatch.setattr(trust, "POLICY", tmp_path / "edgekiln" / "allowed_signers")
    with pytest.raises(InputError, match="no such file of allowed signers"):
        edgekiln.runtime.load(path)
    monkeypatch.setattr(trust, "POLICY", tmp_path / "nowhere" / "allowed_signers")
    edgekiln.runtime.load(path)


def test_a_key_that_is_withdrawn_on_one_line_is_none(tmp_path: Path, bundle: Path) -> None:
    """Also where several lines have the same key: none of them is for bundles of today."""
    kind, code, _ = key(tmp_path / "mine").with_suffix(".pub").read_text().split()
    sign(bundle, tmp_path / "mine")
    allowed = tmp_path / "allowed"
    allowed.write_text(
        f'# ci {kind} {code}\nold valid-before="20200101" {kind} {code}\n'
        f'git namespaces="git" {kind} {code}\n'
    )
    with pytest.raises(BundleError, match=r"net\.ekb: signed by (a key that|somebody else)"):
        verify(bundle, allowed)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"ssh-ed25519",
        b"\0\1\2",
        b"\xff\xfe",
        b"# nobody",
        b"ssh-ed25519 not-base64 x",
    ],
)
def test_a_file_without_keys_lets_nobody_in(tmp_path: Path, bundle: Path, content: bytes) -> None:
    sign(bundle, key(tmp_path / "mine"))
    odd = tmp_path / "odd"
    odd.write_bytes(content)
    with pytest.raises((BundleError, InputError)):
        verify(bundle, odd)
    with pytest.raises(InputError):
        verify(bundle, tmp_path)
    with pytest.raises(InputError):
        verify(bundle, Path("/dev/zero"))


def test_public_keys_under_each_other_and_under_comments_are_all_allowed(
    tmp_path: Path, bundle: Path
) -> None:
    sign(bundle, key(tmp_path / "mine"))
    texts = [key(tmp_path / name).with_suffix(".pub").read_text() for name in ("one", "two")]
    allowed = tmp_path / "allowed"
    allowed.write_text("".join([*texts, "# mine\n", (tmp_path / "mine.pub").read_text()]))
    assert verify(bundle, allowed) == verify(bundle, tmp_path / "mine.pub")
    allowed.write_text("".join(texts))
    with pytest.raises(BundleError, match="signed by somebody else"):
        verify(bundle, allowed)


def test_a_key_that_is_not_for_bundles_is_no_change_of_the_bundle(
    tmp_path: Path, bundle: Path
) -> None:
    sign(bundle, key(tmp_path / "mine"))
    allowed = tmp_path / "allowed"
    allowed.write_text(f'me namespaces="git" {(tmp_path / "mine.pub").read_text()}')
    with pytest.raises(BundleError, match="a key that is allowed for other things than bundles"):
        verify(bundle, allowed)
    bundle.write_bytes(bundle.read_bytes() + bytes(512))
    with pytest.raises(BundleError, match="changed after it was signed"):
        verify(bundle, allowed)


def test_one_of_several_names_on_a_line_is_the_signer(tmp_path: Path, bundle: Path) -> None:
    sign(bundle, key(tmp_path / "mine"))
    kind, code, _ = (tmp_path / "mine.pub").read_text().split()
    allowed = tmp_path / "allowed"
    allowed.write_text(f"ci@example.org,me@example.org {kind} {code}\n")
    assert verify(bundle, allowed) == "ci@example.org"

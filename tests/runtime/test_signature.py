"""Signatures by a real ssh-keygen."""

import shutil
import subprocess
from pathlib import Path

import pytest

from edgekiln.runtime import signature
from edgekiln.runtime.errors import BundleError, InputError
from edgekiln.runtime.signature import sign, verify
from tests.compiler.ci.results import write_bundle

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

"""Signatures of bundles by OpenSSH: `ssh-keygen -Y`, which every machine with ssh has.

A signature is a file beside the bundle, `NAME.ekb.sig`. It covers the bundle's bytes, which hold
the hash of every file inside.
"""

import subprocess
import tempfile
from pathlib import Path

from edgekiln.runtime.bundle import Bundle
from edgekiln.runtime.errors import BundleError, InputError, MissingToolError, debian_hint
from edgekiln.runtime.files import written_whole

# What a signature is for: one made for mail or git must not pass for a bundle's.
NAMESPACE = "edgekiln-bundle"
SUFFIX = ".sig"
ANYBODY = "signer"  # the name under which a bare public key is allowed


def sign(bundle: Path, key: Path) -> Path:
    """Write the signature of a whole, undamaged bundle; where it is.

    Args:
        key: a private key, or the public key of one that ssh-agent holds.

    Raises:
        InputError: the key cannot be used.
        BundleError, InputError: the bundle cannot be read.
        MissingToolError: there is no ssh-keygen.
    """
    Bundle.open(bundle)
    require_file(key, "key")
    signature = place(bundle)
    done = _run("-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key), stdin=bundle)
    if done.returncode:
        raise InputError(
            f"{key}: cannot sign with it: {_reason(done)}",
            "`ssh-keygen -t ed25519 -f KEY` makes a key",
        )
    with written_whole(signature) as stream:
        stream.write(done.stdout)
    return signature


def place(bundle: Path) -> Path:
    """Where the signature of a bundle lies."""
    return bundle.with_name(bundle.name + SUFFIX)


def verify(bundle: Path, allowed: Path, signature: Path | None = None) -> str:
    """Who signed the bundle.

    Args:
        allowed: a public key (`.pub`), or an allowed_signers file (see ssh-keygen(1)).

    Raises:
        BundleError: there is no signature, or it is not one of theirs, or not of these bytes.
        InputError: a file cannot be read.
        MissingToolError: there is no ssh-keygen.
    """
    signature = signature or place(bundle)
    for path, what in ((bundle, "bundle"), (allowed, "file of allowed signers")):
        require_file(path, what)
    if not signature.is_file():
        raise BundleError(f"{bundle}: not signed", f"`edgekiln sign {bundle} --key KEY` signs it")
    with tempfile.TemporaryDirectory() as directory:
        signers = Path(directory) / "allowed_signers"
        signers.write_text(_allowed_signers(allowed), encoding="utf-8")
        name = _principal(signers, signature)
        checked = _run(
            "-Y", "verify", "-n", NAMESPACE, "-f", str(signers), "-I", name, "-s", str(signature),
            stdin=bundle,
        )  # fmt: skip
    if not name or checked.returncode:
        reason = "changed after it was signed" if name else "signed by somebody else"
        raise BundleError(f"{bundle}: {reason}", "do not run it; ask who made it for a signed copy")
    Bundle.open(bundle)
    return name


def _allowed_signers(path: Path) -> str:
    """The file's text; a bare public key becomes the one allowed signer, named by its comment."""
    text = path.read_text(encoding="utf-8")
    kind, *rest = text.split(maxsplit=2)
    if not kind.startswith(("ssh-", "ecdsa-", "sk-")):
        return text
    comment = rest[1].split() if len(rest) > 1 else []
    name = comment[0] if len(comment) == 1 else ANYBODY
    return f'{name} namespaces="{NAMESPACE}" {kind} {rest[0]}\n'


def _principal(signers: Path, signature: Path) -> str:
    """The name of the allowed signer whose key made the signature; "" for nobody."""
    found = _run("-Y", "find-principals", "-f", str(signers), "-s", str(signature))
    return found.stdout.decode().splitlines()[0] if found.returncode == 0 else ""


def _run(*arguments: str, stdin: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    try:
        with (stdin or Path("/dev/null")).open("rb") as stream:
            return subprocess.run(
                ["ssh-keygen", *arguments], stdin=stream, capture_output=True, check=False
            )
    except FileNotFoundError:
        raise MissingToolError(
            "ssh-keygen is not installed", debian_hint("openssh-client")
        ) from None


def require_file(path: Path, what: str) -> None:
    """Raises InputError."""
    if not path.is_file():
        raise InputError(f"no such {what}: {path}")


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    return (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[0]

"""Signatures of bundles by OpenSSH: `ssh-keygen -Y`, which every machine with ssh has.

A signature is a file beside the bundle, `NAME.ekb.sig`. It covers the bundle's bytes, which hold
the hash of every file inside. What is verified is what was read, once: the bytes go to ssh-keygen
by its stdin, and the signature and the keys as copies of its own.
"""

import base64
import os
import struct
import subprocess
import tempfile
from pathlib import Path

from edgekiln.runtime.bundle import MANIFEST, ProgramFile, read_content
from edgekiln.runtime.errors import BundleError, InputError, MissingToolError, debian_hint
from edgekiln.runtime.files import written_whole
from edgekiln.runtime.limits import Limit, read_file

# What a signature is for: one made for mail or git must not pass for a bundle's.
NAMESPACE = "edgekiln-bundle"
SUFFIX = ".sig"
ANYBODY = "signer"  # the name under which a bare public key is allowed
_KEY_AT = len(b"SSHSIG") + 4  # behind the magic word and the version
KEYS = Limit(
    what="a file of keys or a signature", variable="EDGEKILN_MAX_KEY_BYTES", default=1 << 20
)
_KEYS_HINT = "a public key (.pub), or an allowed_signers file as ssh-keygen(1) describes"


def sign(bundle: Path, key: Path) -> Path:
    """Write the signature of a whole, undamaged bundle; where it is.

    Args:
        key: a private key, or the public key of one that ssh-agent holds.

    Raises:
        InputError: the key cannot be used.
        BundleError, InputError: the bundle cannot be read.
        MissingToolError: there is no ssh-keygen.
    """
    content = read_content(bundle)
    _require_bundle(ProgramFile.parse(bundle, content))
    require_file(key, "key")
    signature = place(bundle)
    done = _run("-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key), stdin=content)
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
    require_file(bundle, "bundle")
    content = read_content(bundle)
    name = verify_content(content, bundle, read_signature(bundle, signature), allowed)
    _require_bundle(ProgramFile.parse(bundle, content))
    return name


def verify_program(opened: ProgramFile, allowed: Path) -> str:
    """Who signed the very bytes that were opened. Raises as `verify`."""
    _require_bundle(opened)
    return verify_content(opened.content, opened.path, read_signature(opened.path), allowed)


def read_signature(bundle: Path, signature: Path | None = None) -> bytes:
    """The signature of a bundle. Raises BundleError where there is none."""
    signature = signature or place(bundle)
    if not signature.is_file():
        raise BundleError(f"{bundle}: not signed", f"`edgekiln sign {bundle} --key KEY` signs it")
    return read_file(signature, KEYS, hint="sign the bundle again")


def verify_content(content: bytes, bundle: Path, signature: bytes, allowed: Path) -> str:
    """Who made `signature` for `content`; `bundle` names them in errors. Raises as `verify`."""
    require_file(allowed, "file of allowed signers")
    signers = _allowed_signers(allowed)
    known = False
    with tempfile.TemporaryDirectory() as directory:
        keys, copy = Path(directory, "allowed_signers"), Path(directory, "signature")
        copy.write_bytes(signature)
        for each in _each_line(signers, signature):
            keys.write_bytes(each)
            # ssh-keygen verifies for a name; this finds the one that the key is allowed under.
            name = _principal(keys, copy)
            known = known or bool(name)
            checked = _run(
                "-Y", "verify", "-n", NAMESPACE, "-f", str(keys), "-I", name, "-s", str(copy),
                stdin=content,
            )  # fmt: skip
            if name and checked.returncode == 0:
                return name
        reason = _refused(content, copy) if known else "signed by somebody else"
    raise BundleError(f"{bundle}: {reason}", "do not run it; ask who made it for a signed copy")


def _refused(content: bytes, signature: Path) -> str:
    """Why a signature by a known key lets nobody in."""
    unchanged = _run(
        "-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(signature), stdin=content
    )  # fmt: skip
    if unchanged.returncode == 0:
        return "signed by a key that is allowed for other things than bundles"
    return "changed after it was signed"


def _require_bundle(opened: ProgramFile) -> None:
    if MANIFEST not in opened.files:
        raise BundleError(
            f"{opened.path}: has no {MANIFEST}: only bundles are signed",
            hint="`edgekiln package` makes a bundle of it",
        )


def require_keys(path: Path) -> None:
    """Refuse a file by which nobody would ever be let in. Raises InputError."""
    _allowed_signers(path)


def _allowed_signers(path: Path) -> bytes:
    """The file's lines; of a bare public key, one that allows it, named by the key's comment."""
    raw = read_file(path, KEYS, _KEYS_HINT)
    lines = [_allowed(line) for line in raw.split(b"\n") if not _is_comment(line)]
    if b"\0" in raw or not any(_is_key(word) for line in lines for word in line.split()):
        raise InputError(f"{path}: holds no keys", _KEYS_HINT)
    return b"".join(line + b"\n" for line in lines)


def _is_comment(line: bytes) -> bool:
    return line.lstrip()[:1] in (b"", b"#")


def _is_key(word: bytes) -> bool:
    return word.startswith(b"AAAA")  # the length of a kind's name, in 32 bits, as base64


def _allowed(line: bytes) -> bytes:
    """A line that allows its key, for bundles alone where it is bare, whatever else it signs."""
    words = line.split()
    bare = words[0].startswith((b"ssh-", b"ecdsa-", b"sk-")) and any(map(_is_key, words[1:2]))
    if not bare:
        return line
    kind, key, *comment = words
    name = comment[0] if len(comment) == 1 else ANYBODY.encode()
    return b'%s namespaces="%s" %s %s' % (name, NAMESPACE.encode(), kind, key)


def _each_line(signers: bytes, signature: bytes) -> list[bytes]:
    """A file of allowed signers; in pieces where the key stands on several lines, of which
    ssh-keygen looks at the first alone: that may be for other things than bundles.
    """
    key = _key_of(signature)
    lines = [line + b"\n" for line in signers.split(b"\n") if key and key in line.split()]
    return lines if len(lines) > 1 else [signers]


def _key_of(signature: bytes) -> bytes:
    """The public key that a signature holds, as files of keys write it; nothing in what is none.

    Source: PROTOCOL.sshsig of OpenSSH.
    """
    try:
        raw = base64.b64decode(b"".join(signature.split(b"-----")[2].split()))
        (size,) = struct.unpack_from(">I", raw, _KEY_AT)
    except (IndexError, ValueError, struct.error):
        return b""
    start = _KEY_AT + 4
    return base64.b64encode(raw[start : start + size])


def _principal(signers: Path, signature: Path) -> str:
    """The name of the allowed signer whose key made the signature; "" for nobody."""
    found = _run("-Y", "find-principals", "-f", str(signers), "-s", str(signature))
    names = found.stdout.decode(errors="replace").splitlines() if found.returncode == 0 else []
    return names[0].split(",")[0] if names else ""  # a line of the file may name several


def _run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["ssh-keygen", *arguments], input=stdin, capture_output=True, check=False
        )
    except FileNotFoundError:
        raise MissingToolError(
            "ssh-keygen is not installed", debian_hint("openssh-client")
        ) from None


def require_file(path: Path, what: str) -> None:
    """Refuse what is no file. Raises InputError."""
    if not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises where it may not look
        raise InputError(f"no such {what}: {path}", "or it lies where you may not look")


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    return (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[0]

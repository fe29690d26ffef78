"""Program files: deterministic tars, read without trust: `.lib` and, with a manifest, `.ekb`."""

import hashlib
import math
import tarfile
import zlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np

from edgekiln.runtime import manifest as documents
from edgekiln.runtime.errors import BundleError, InputError
from edgekiln.runtime.files import FILE_MODE, cannot_write, written_whole
from edgekiln.runtime.manifest import REBUILD_HINT, Manifest, ProgramSpec, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROGRAM = "program.json"
LIBRARY = "libmodel.so"
RUNNER = "runner"
IMAGE = "firmware.elf"  # for an emulated board: what a microcontroller has instead of RUNNER
MANIFEST = "manifest.json"
SEAL = "manifest.json.sha256"  # the manifest's own hash, as sha256sum writes it

EXECUTABLE_MODE = 0o755
MAX_BYTES = 1 << 32  # larger files are not ours and would not fit a device's memory
_BLOCK = 512  # the tar format's unit; two zero blocks end an archive


def with_checksum(runner: bytes) -> bytes:
    """The executable and its CRC-32, by which it sees whether it was damaged: c/checksum.c."""
    return runner + zlib.crc32(runner).to_bytes(4, "little")


def write_tar(path: Path, files: Mapping[str, bytes | Path], executable: Set[str]) -> None:
    """Write `files` (name → content, or the file to copy) so that equal contents give equal bytes.

    Names are sorted; times, owners and modes are fixed; nothing is compressed. Appears at `path`
    whole or not at all.

    Raises:
        StorageError: the disk is full or read-only.
    """
    with written_whole(path) as stream:
        _write_members(stream, files, executable)


def read_tar(path: Path) -> dict[str, bytes]:
    """Name → content of every file in a tar that `write_tar` made.

    Raises:
        InputError: no such file, or it cannot be read.
        BundleError: truncated, damaged, or with links, devices or paths that lead outside.
    """
    return {name: content for name, (content, _executable) in _read_members(path).items()}


def extract(path: Path, directory: Path) -> None:
    """Write a tar's files below `directory`, which is made. Raises as `read_tar`, StorageError."""
    for name, (content, executable) in _read_members(path).items():
        target = directory / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # never write through a link that stands there
            target.write_bytes(content)
            target.chmod(EXECUTABLE_MODE if executable else FILE_MODE)
        except OSError as error:
            raise cannot_write(target, error) from error


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """An opened `.ekb`: every file's hash has been checked against the manifest."""

    path: Path
    manifest: Manifest
    files: Mapping[str, bytes]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises BundleError with the exact reason, or InputError when there is no such file."""
        return cls.verified(path, read_tar(path))

    @classmethod
    def verified(cls, path: Path, files: Mapping[str, bytes]) -> Self:
        """The bundle that `files`, read from `path`, are. Raises BundleError."""
        for needed in (MANIFEST, SEAL):
            if needed not in files:
                raise BundleError(
                    f"{path}: has no {needed}: not a bundle",
                    hint="bundles are the .ekb files that `edgekiln build` and `package` write",
                )
        if files[SEAL] != seal(files[MANIFEST]):
            raise BundleError(f"{path}: {MANIFEST} does not match its sha256", hint=REBUILD_HINT)
        manifest = documents.from_json(Manifest, files[MANIFEST], f"{path}: {MANIFEST}")
        _check_hashes(path, files, manifest.files)
        return cls(path=path, manifest=manifest, files=files)

    @property
    def program(self) -> ProgramSpec:
        return self.manifest.program

    def example(self, kind: str, index: int, spec: TensorSpec) -> "NDArray[np.generic] | None":
        """The bundled example, kind "input" or "output"; None without one. Raises BundleError."""
        name = example_name(kind, index)
        raw = self.files.get(name)
        if raw is None:
            return None
        wanted = math.prod(spec.shape) * np.dtype(spec.dtype).itemsize
        if len(raw) != wanted:
            raise BundleError(
                f"{self.path}: {name} has {len(raw)} bytes instead of {wanted}", REBUILD_HINT
            )
        return np.frombuffer(raw, spec.dtype).reshape(spec.shape).copy()


def executable_name(files: Mapping[str, bytes], where: str) -> str:
    """The file that runs a program by itself: RUNNER or IMAGE. Raises BundleError without one."""
    found = next((name for name in (RUNNER, IMAGE) if name in files), None)
    if found is None:
        raise BundleError(f"{where}: has no {RUNNER}", REBUILD_HINT)
    return found


def example_name(kind: str, index: int) -> str:
    return f"example/{kind}_{index}.bin"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def seal(manifest: bytes) -> bytes:
    """What SEAL holds: `sha256sum -c` on a device without Python checks the manifest by it."""
    return f"{sha256(manifest)}  {MANIFEST}\n".encode()


def read_program(path: Path) -> tuple[ProgramSpec, Mapping[str, bytes]]:
    """The program and its files, of a `.lib` or, verified, of a `.ekb`. Raises as `Bundle.open`."""
    files = read_tar(path)
    if MANIFEST in files:
        opened = Bundle.verified(path, files)
        return opened.program, opened.files
    if PROGRAM not in files:
        raise BundleError(
            f"{path}: has no {PROGRAM}: not a compiled program",
            hint="programs are the .ekb or .lib files that `edgekiln build` or `compile` write",
        )
    return documents.from_json(ProgramSpec, files[PROGRAM], f"{path}: {PROGRAM}"), files


def _write_members(
    stream: BinaryIO, files: Mapping[str, bytes | Path], executable: Set[str]
) -> None:
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            source = files[name]
            content = source if isinstance(source, bytes) else source.read_bytes()
            member = tarfile.TarInfo(name)  # mtime, uid, gid 0 and no owner names
            member.size = len(content)
            member.mode = EXECUTABLE_MODE if name in executable else FILE_MODE
            tar.addfile(member, BytesIO(content))


def _read_members(path: Path) -> dict[str, tuple[bytes, bool]]:
    """Name → (content, executable)."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BundleError(f"{path}: larger than {MAX_BYTES} bytes", hint=REBUILD_HINT)
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}", hint="give the path of a bundle"
        ) from error
    members: dict[str, tuple[bytes, bool]] = {}
    end = 0
    try:
        with tarfile.open(fileobj=BytesIO(raw), mode="r:") as tar:
            for member in tar:
                _check_member(path, member, members)
                stream = tar.extractfile(member)
                assert stream is not None  # a regular file
                members[member.name] = (stream.read(), bool(member.mode & 0o100))
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
    except (tarfile.TarError, EOFError) as error:
        raise BundleError(f"{path}: not a whole tar: {error}", hint=REBUILD_HINT) from error
    # tarfile takes a damaged header behind the first member for the end of the archive.
    if len(raw) < end + 2 * _BLOCK or any(raw[end:]):
        raise BundleError(
            f"{path}: truncated or damaged after {end} of {len(raw)} bytes", hint=REBUILD_HINT
        )
    return members


def _check_member(path: Path, member: tarfile.TarInfo, seen: Mapping[str, object]) -> None:
    name = PurePosixPath(member.name)
    problem = None
    if member.type != tarfile.REGTYPE or member.sparse is not None or member.size < 0:
        problem = "is not a plain file"
    elif name.is_absolute() or ".." in name.parts or str(name) != member.name or name.name == "":
        problem = "leads outside or is not in normal form"
    elif member.name in seen or any(str(parent) in seen for parent in name.parents):
        problem = "stands there twice"
    if problem:
        raise BundleError(
            f"{path}: member {member.name!r} {problem}", hint="EdgeKiln writes no such files"
        )


def _check_hashes(path: Path, files: Mapping[str, bytes], hashes: Mapping[str, str]) -> None:
    present = files.keys() - {MANIFEST, SEAL}
    if missing := sorted(hashes.keys() - present):
        raise BundleError(f"{path}: {', '.join(missing)} missing", hint=REBUILD_HINT)
    if extra := sorted(present - hashes.keys()):
        raise BundleError(f"{path}: {', '.join(extra)} not in the manifest", hint=REBUILD_HINT)
    for name, expected in hashes.items():
        if sha256(files[name]) != expected:
            raise BundleError(f"{path}: {name} does not match its sha256", hint=REBUILD_HINT)

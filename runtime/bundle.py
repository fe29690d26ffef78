"""Program files, read without trust: `.ekb`, with a manifest, and `.lib`, the compiler's own.

A file is read once. What is verified is those bytes, and what runs is those bytes: nothing that
happens to the file meanwhile can come between.
"""

import hashlib
import math
import zlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from edgekiln.runtime.archive import read_members, write_members
from edgekiln.runtime.errors import BundleError
from edgekiln.runtime.files import EXECUTABLE_MODE, FILE_MODE, cannot_write, written_whole
from edgekiln.runtime.limits import BUNDLES, read_file
from edgekiln.runtime.manifest import (
    REBUILD_HINT,
    Manifest,
    ProgramSpec,
    TensorSpec,
    from_json,
    of_steps,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROGRAM = "program.json"
LIBRARY = "libmodel.so"
RUNNER = "runner"
IMAGE = "firmware.elf"  # for an emulated board: what a microcontroller has instead of RUNNER
MANIFEST = "manifest.json"
SEAL = "manifest.json.sha256"  # the manifest's own hash, as sha256sum writes it
SUMS = "SHA256SUMS"  # of a `.lib`: a line for every other file, as sha256sum writes it


def with_checksum(runner: bytes) -> bytes:
    """The executable and its CRC-32, by which it sees whether it was damaged: c/checksum.c."""
    return runner + zlib.crc32(runner).to_bytes(4, "little")


def write_tar(path: Path, files: Mapping[str, bytes | Path], executable: Set[str]) -> None:
    """Write `files` as `archive.write_members` does; at `path` whole or not at all.

    Raises:
        StorageError: the disk is full or read-only.
    """
    with written_whole(path) as stream:
        write_members(stream, files, executable)


def write_lib(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a `.lib`: the files of a program, and SUMS. Raises StorageError."""
    lines = (f"{sha256(content)}  {name}\n" for name, content in sorted(files.items()))
    write_tar(path, {**files, SUMS: "".join(lines).encode()}, executable={RUNNER})


def read_content(path: Path) -> bytes:
    """The bytes of a program's file. Raises InputError: no such file, or a larger one."""
    return read_file(path, BUNDLES, hint="give the path of a bundle")


def read_tar(path: Path) -> dict[str, bytes]:
    """Name → content of every file in a tar that `write_tar` made.

    Raises:
        InputError: no such file, or it cannot be read.
        BundleError: truncated, damaged, or with links, devices or paths that lead outside.
    """
    return _contents(read_content(path), path)


def extract(path: Path, directory: Path) -> None:
    """Write a tar's files below `directory`, which is made. Raises as `read_tar`, StorageError."""
    for name, member in read_members(read_content(path), str(path)).items():
        target = directory / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # never write through a link that stands there
            target.write_bytes(member.content)
            target.chmod(EXECUTABLE_MODE if member.executable else FILE_MODE)
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
        # Parsed only now, when it is known to be the one that was sealed.
        manifest = from_json(Manifest, files[MANIFEST], f"{path}: {MANIFEST}")
        _check_hashes(path, files, manifest.files, {MANIFEST, SEAL}, "the manifest")
        return cls(path=path, manifest=manifest, files=files)

    @property
    def program(self) -> ProgramSpec:
        """What its program takes, gives, and came from."""
        return self.manifest.program

    def example(self, kind: str, index: int, spec: TensorSpec) -> "NDArray[np.generic] | None":
        """The bundled example, kind "input" or "output"; None without one. Raises BundleError."""
        steps = bool(self.program.states)
        return example_tensor(self.files, str(self.path), kind, index, spec, steps=steps)


@dataclass(frozen=True, kw_only=True, eq=False)
class ProgramFile:
    """An opened `.ekb` or `.lib`, its hashes checked, and the very bytes it was read as."""

    path: Path
    content: bytes
    spec: ProgramSpec
    files: Mapping[str, bytes]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises BundleError with the exact reason, or InputError when there is no such file."""
        return cls.parse(path, read_content(path))

    @classmethod
    def parse(cls, path: Path, content: bytes) -> Self:
        """The program that `content`, read from `path`, is. Raises BundleError."""
        files: Mapping[str, bytes] = _contents(content, path)
        # With a part of a bundle in it, it is a bundle, and must be a whole one.
        if {MANIFEST, SEAL} & files.keys() or path.suffix == ".ekb":
            spec = Bundle.verified(path, files).program
        else:
            spec, files = _verified_lib(path, files)
        return cls(path=path, content=content, spec=spec, files=files)


def executable_name(files: Mapping[str, bytes], where: str) -> str:
    """The file that runs a program by itself: RUNNER or IMAGE. Raises BundleError without one."""
    found = next((name for name in (RUNNER, IMAGE) if name in files), None)
    if found is None:
        raise BundleError(f"{where}: has no {RUNNER}", REBUILD_HINT)
    return found


def example_name(kind: str, index: int, point: int = 0) -> str:
    """The path in a bundle of an input of its example, or of what a point makes of that."""
    return f"example/{f'point_{point}/' * bool(point)}{kind}_{index}.bin"


def example_tensor(
    files: Mapping[str, bytes],
    where: str,
    kind: str,
    index: int,
    spec: TensorSpec,
    *,
    steps: bool = False,
    point: int = 0,
) -> "NDArray[np.generic] | None":
    """The example among a program's files, as `Bundle.example`; with `steps`, those of a stream:
    (T, …), see `edgekiln.runtime.streams`.
    """
    name = example_name(kind, index, point)
    raw = files.get(name)
    if raw is None:
        return None
    wanted = math.prod(spec.shape) * np.dtype(spec.dtype).itemsize
    if steps and raw and not len(raw) % wanted:
        return np.frombuffer(raw, spec.dtype).reshape(-1, *of_steps(spec).shape[1:]).copy()
    if len(raw) != wanted:
        raise BundleError(f"{where}: {name} has {len(raw)} bytes instead of {wanted}", REBUILD_HINT)
    return np.frombuffer(raw, spec.dtype).reshape(spec.shape).copy()


def sha256(content: bytes) -> str:
    """The hash of a content, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def seal(manifest: bytes) -> bytes:
    """What SEAL holds: `sha256sum -c` on a device without Python checks the manifest by it."""
    return f"{sha256(manifest)}  {MANIFEST}\n".encode()


def read_program(path: Path) -> tuple[ProgramSpec, Mapping[str, bytes]]:
    """The program and its files, of a `.lib` or of a `.ekb`, verified. Raises as `Bundle.open`."""
    opened = ProgramFile.open(path)
    return opened.spec, opened.files


def _contents(raw: bytes, path: Path) -> dict[str, bytes]:
    return {name: member.content for name, member in read_members(raw, str(path)).items()}


def _verified_lib(
    path: Path, files: Mapping[str, bytes]
) -> tuple[ProgramSpec, Mapping[str, bytes]]:
    """The program, and the files without SUMS."""
    if PROGRAM not in files:
        raise BundleError(
            f"{path}: has no {PROGRAM}: not a compiled program",
            hint="programs are the .ekb or .lib files that `edgekiln build` or `compile` write",
        )
    if SUMS not in files:
        raise BundleError(
            f"{path}: has no {SUMS}, and no {MANIFEST}: nothing says whether it is whole",
            hint="compile it again, with this EdgeKiln",
        )
    _check_hashes(path, files, _sums(path, files[SUMS]), {SUMS}, SUMS)
    spec = from_json(ProgramSpec, files[PROGRAM], f"{path}: {PROGRAM}")
    return spec, {name: content for name, content in files.items() if name != SUMS}


def _sums(path: Path, text: bytes) -> dict[str, str]:
    """Name → hash."""
    hashes = {}
    for line in text.decode(errors="replace").splitlines():
        # 64 digits of SHA-256, two blanks, and the name, which may hold blanks.
        digest, blanks, name = line[:64], line[64:66], line[66:]
        if blanks != "  " or not name:
            raise BundleError(f"{path}: {SUMS} is not as sha256sum writes it", REBUILD_HINT)
        hashes[name] = digest
    return hashes


def _check_hashes(
    path: Path, files: Mapping[str, bytes], hashes: Mapping[str, str], own: Set[str], listing: str
) -> None:
    """Every file but `own` stands in `listing`, with its hash."""
    present = files.keys() - own
    if missing := sorted(hashes.keys() - present):
        raise BundleError(f"{path}: {', '.join(missing)} missing", hint=REBUILD_HINT)
    if extra := sorted(present - hashes.keys()):
        raise BundleError(f"{path}: {', '.join(extra)} not in {listing}", hint=REBUILD_HINT)
    for name, expected in hashes.items():
        if sha256(files[name]) != expected:
            raise BundleError(f"{path}: {name} does not match its sha256", hint=REBUILD_HINT)

"""Writing to disks that may be full or read-only: whole files or none, and errors in words."""

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile, gettempdir

from edgekiln.runtime.errors import ConfigError, StorageError
from edgekiln.runtime.files import cannot_write, folder_for, require_regular, written_whole
from edgekiln.runtime.home import expanded, home
from edgekiln.runtime.limits import NO_FILE

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NOT_WRITABLE = (errno.EROFS, errno.ENOTDIR, errno.EEXIST)  # though it may be read
MIN_FREE_BYTES = 1 << 20  # with less than this, a write that failed in a library is a full disk


def default_root() -> Path:
    """Where the store lies if nobody says otherwise. Raises ConfigError: nobody knows."""
    if given := os.environ.get("EDGEKILN_STORE"):
        return expanded(given).absolute()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else home("EDGEKILN_STORE") / ".cache") / "edgekiln"


@contextmanager
def explained(root: Path) -> Iterator[None]:
    """Raise StorageError for disk errors under `root`, also when a library has hidden the cause."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise _full(root) from error
        if not _under(root, error.filename):
            raise
        doing = "written" if error.errno in NOT_WRITABLE else "read or written"
        raise StorageError(
            f"the store {root} cannot be {doing}: {error.strerror}", _remedy(error)
        ) from error
    except StorageError as error:  # of a file that a stage was writing
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in NO_ROOM and str(root) in error.message:
            raise _full(root) from error
        raise
    except (RuntimeError, ValueError) as error:
        if free_bytes(root) < MIN_FREE_BYTES:
            raise _full(root) from error
        raise


def check_place(dst: Path) -> None:
    """Raise StorageError where no file can be written to `dst`; before hours of work, not after."""
    require_regular(dst)
    if dst.is_dir():
        raise StorageError(f"cannot write {dst}: it is a directory", "name a file in it")
    check_folder(dst.absolute().parent, dst)


def check_places(written: Sequence[Path], read: Sequence[Path]) -> None:
    """Raise as `check_place` of each that will be written, and ConfigError where two of them are
    one file, or one takes the place of what is read.
    """
    taken = {path.resolve() for path in read}
    for path in written:
        check_place(path)
        if path.resolve() in taken:
            raise ConfigError(
                f"cannot write {path}: it is read, or written, by this very command, too",
                "name another file",
            )
        taken.add(path.resolve())


def check_folder(folder: Path, dst: Path | None = None) -> None:
    """Raise StorageError where no file, `dst`, can be written to a folder, be it there or not."""
    whole = folder.absolute()
    try:
        there = next(each for each in (whole, *whole.parents) if each.exists())
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise cannot_write(dst or folder, error) from error


def copy_out(src: Path, dst: Path) -> None:
    """Copy an artifact to where the user wants it, whole or not at all. Raises StorageError."""
    try:
        with folder_for(dst), src.open("rb") as content, written_whole(dst) as stream:
            shutil.copyfileobj(content, stream)
    except OSError as error:
        raise cannot_write(dst, error) from error


def free_bytes(path: Path) -> int:
    """The bytes that are free on the disk that holds `path`, or would."""
    return shutil.disk_usage(_nearest(path)).free


def writable(path: Path) -> bool:
    """Whether the directory `path` can be written, or made."""
    found = _nearest(path)
    return found.is_dir() and os.access(found, os.W_OK | os.X_OK)


def _nearest(path: Path) -> Path:
    """`path`, or what is there, and can be seen, of the folders that it lies in."""
    for candidate in (path, *path.parents):
        with suppress(OSError):
            candidate.stat()
            return candidate
    return Path(path.anchor)


def _full(root: Path) -> StorageError:
    temporary = Path(gettempdir())
    if free_bytes(temporary) < MIN_FREE_BYTES <= free_bytes(root):
        return StorageError(f"no room left in {temporary}", "free some space, or set TMPDIR")
    return StorageError(
        f"no room left in the store {root} ({free_bytes(root)} bytes free)",
        "`edgekiln cache gc` removes old artifacts; or set EDGEKILN_STORE to another disk",
    )


def _remedy(error: OSError) -> str:
    hint = "set EDGEKILN_STORE to a directory that you can write"
    if error.errno == errno.ENOENT:  # somebody has cleared it away, just now
        return "run the same command again"
    # A folder, a pipe or a link to itself in place of a file is none of ours.
    return f"remove {error.filename}; or {hint}" if error.errno in NO_FILE else hint


def _under(root: Path, filename: object) -> bool:
    if not isinstance(filename, str):
        return False
    path = Path(filename).absolute()
    return path.is_relative_to(root) or root.is_relative_to(path)

"""Writing to disks that may be full or read-only: whole files or none, and errors in words."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekiln.runtime.errors import StorageError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)
MIN_FREE_BYTES = 1 << 20  # with less than this, a write that failed in a library is a full disk


def default_root() -> Path:
    """Where the store lies if nobody says otherwise."""
    if home := os.environ.get("EDGEKILN_STORE"):
        return Path(home).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "edgekiln"


@contextmanager
def explained(root: Path) -> Iterator[None]:
    """Raise StorageError for disk errors under `root`, also when a library has hidden the cause."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise _full(root) from error
        if error.errno in NOT_WRITABLE and _under(root, error.filename):
            raise StorageError(
                f"the store {root} cannot be written: {error.strerror}",
                "set EDGEKILN_STORE to a directory that you can write",
            ) from error
        raise
    except StorageError as error:  # of a file that a stage was writing
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in NO_ROOM and str(root) in error.message:
            raise _full(root) from error
        raise
    except (RuntimeError, ValueError) as error:
        if free_bytes(root) < MIN_FREE_BYTES:
            raise _full(root) from error
        raise


def copy_out(src: Path, dst: Path) -> None:
    """Copy an artifact to where the user wants it, whole or not at all. Raises StorageError."""
    try:
        dst.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(prefix=f".{dst.name}.", dir=dst.parent)
        os.close(descriptor)
        try:
            shutil.copyfile(src, aside)
            Path(aside).chmod(0o644)
            Path(aside).replace(dst)
        finally:
            Path(aside).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot write {dst}: {error.strerror}", "choose another place to write to"
        ) from error


def free_bytes(path: Path) -> int:
    """On the disk that holds `path`, or would."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def writable(path: Path) -> bool:
    """Whether the directory `path` can be written, or made."""
    while not path.exists():
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def _full(root: Path) -> StorageError:
    return StorageError(
        f"no room left in the store {root} ({free_bytes(root)} bytes free)",
        "`edgekiln cache gc` removes old artifacts; or set EDGEKILN_STORE to another disk",
    )


def _under(root: Path, filename: object) -> bool:
    if not isinstance(filename, str):
        return False
    path = Path(filename).absolute()
    return path.is_relative_to(root) or root.is_relative_to(path)

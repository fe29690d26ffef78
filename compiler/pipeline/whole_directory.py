"""A directory that changes from one whole state to the next."""

import ctypes
import errno
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekiln.compiler.pipeline import locks
from edgekiln.runtime.errors import ConfigError, StorageError
from edgekiln.runtime.files import cannot_write

# linux/fs.h and fcntl.h; Python has no name for them.
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_PARTIAL = ".partial"


@contextmanager
def replaced(directory: Path, mark: str, command: str) -> Iterator[Path]:
    """Give a fresh directory, which takes the place of `directory` at the end of the block.

    A block that fails leaves `directory` as it was. What a killed run left is cleared away.

    Args:
        mark: a file that is in each such directory, by which it is known.
        command: what writes them, for errors.

    Raises:
        ConfigError: another run is writing to it.
        StorageError: it holds files of somebody else, or the disk is full or read-only.
    """
    # Where a link leads: a link that is exchanged for a directory is lost.
    directory = Path(os.path.realpath(directory))
    _check_ours(directory, mark, command)
    # Beside it, and so on its file system: over the border of one nothing can be renamed. By the
    # process: what a killed run left working for a moment does not write to the next run's.
    partial = directory.with_name(f".{directory.name}.{os.getpid()}{_PARTIAL}")
    lock = directory.with_name(f".{directory.name}.lock")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with locks.try_exclusive(lock) as free:
            if not free:
                raise ConfigError(
                    f"{locks.holder(lock)} is writing to {directory}",
                    "wait for it, or choose another directory by --out",
                )
            # What is there is of killed runs, as the lock is free.
            for left in directory.parent.glob(f".{glob.escape(directory.name)}.*{_PARTIAL}"):
                shutil.rmtree(left, ignore_errors=True)
            partial.mkdir()
            try:
                yield partial
                _swap(partial, directory)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise cannot_write(directory, error) from error


def _check_ours(directory: Path, mark: str, command: str) -> None:
    """Raises StorageError when replacing `directory` would remove what no run has written."""
    if directory.is_dir() and any(directory.iterdir()) and not (directory / mark).is_file():
        raise StorageError(
            f"{directory} holds files that are not of a run of `{command}`",
            "empty it, or choose another directory by --out",
        )


def _swap(partial: Path, directory: Path) -> None:
    """Exchange the two in one step where kernel and file system can; else by two renames."""
    if not directory.exists():
        partial.rename(directory)
        return
    if not _exchange(partial, directory):
        # Between the two renames there is no directory: a reader may see that, a half one never.
        aside = directory.with_name(f".{directory.name}.old")
        shutil.rmtree(aside, ignore_errors=True)
        directory.rename(aside)
        partial.rename(directory)
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    arguments = (_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    if libc.renameat2(*arguments) == 0:
        return True
    code = ctypes.get_errno()
    # Kernels before 3.15, and file systems that cannot exchange.
    if code in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(code, os.strerror(code), str(second))

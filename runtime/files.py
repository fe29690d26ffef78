"""Files that appear whole or not at all."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from edgekiln.runtime.errors import StorageError

FILE_MODE = 0o644
EXECUTABLE_MODE = 0o755

# What helps, by what the operating system says; for all else, another directory does.
_ROOM = "free some space, or choose a directory on another disk"
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.ENAMETOOLONG: "choose a shorter name",
}


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A stream whose content replaces `path` at the end of the block, unless the block fails.

    Raises:
        StorageError: the disk is full, read-only or has no such directory, or a device or a pipe
            stands there.
    """
    require_regular(path)
    work = None
    try:
        handle, work = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as stream:
            yield stream
        Path(work).chmod(FILE_MODE)
        Path(work).replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if work is not None:
            Path(work).unlink(missing_ok=True)


def require_regular(path: Path) -> None:
    """Raises StorageError where a device or a pipe stands: the file would replace it, for
    everybody; and where nobody can say what stands there.
    """
    try:
        odd = path.exists() and not (path.is_file() or path.is_dir())
    except OSError as error:  # in a folder that may not be searched, or with too long a name
        raise cannot_write(path, error) from error
    if odd:
        raise StorageError(f"cannot write {path}: it is not a regular file", "name another file")


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are missing. Raises StorageError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def folder_for(path: Path) -> Iterator[None]:
    """Make the folder of a file that the block writes, and those above it, where they are missing.
    Where the block fails, those that were made and hold nothing are gone again.

    Raises:
        StorageError: they cannot be made.
    """
    folder = path.absolute().parent
    missing: list[Path] = []
    try:
        try:
            missing = [each for each in (folder, *folder.parents) if not each.exists()]
        except OSError as error:  # in a folder that may not be searched, or with too long a name
            raise cannot_write(path, error) from error
        make_folder(folder)
        yield
    except BaseException:
        for each in missing:  # the innermost first
            with suppress(OSError):
                each.rmdir()
        raise


def cannot_write(path: Path, error: OSError) -> StorageError:
    """The user's error behind an operating system's."""
    return StorageError(
        f"cannot write {path}: {error.strerror or error}",
        hint=_REMEDIES.get(error.errno or 0, "choose a directory you may write to"),
    )

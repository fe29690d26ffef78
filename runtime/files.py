"""Files that appear whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edgekiln.runtime.errors import StorageError

FILE_MODE = 0o644
EXECUTABLE_MODE = 0o755


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


def cannot_write(path: Path, error: OSError) -> StorageError:
    """The user's error behind an operating system's."""
    return StorageError(
        f"cannot write {path}: {error.strerror or error}",
        hint="free some space or choose a directory you may write to",
    )

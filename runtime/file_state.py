"""Whether a file is still what it was when it was looked at first."""

from pathlib import Path

from edgekiln.runtime.errors import InputError

FileState = tuple[int, int, int]


def file_state(path: Path) -> FileState:
    """Its size, time and place on the disk. Raises OSError."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def changed(name: str) -> InputError:
    """The error of files that are no longer those that a key in the store was made of."""
    return InputError(
        f"{name} was changed while it was read",
        "nothing that was made of it is kept: run the same command again",
    )

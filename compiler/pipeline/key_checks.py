"""What must hold when a stage has run, so that its result may have the key that was made before.

Files that a stage reads are looked at twice: hashed for its key, and read by itself. Who makes a
part of the key adds what finds out whether both were of the same content.
"""

from collections.abc import Callable
from pathlib import Path

from edgekiln.compiler.pipeline.artifact import sha256_of
from edgekiln.runtime.file_state import FileState, changed, file_state

# Of the stage under way in this process.
_checks: list[Callable[[], None]] = []
_files: dict[Path, FileState] = {}  # as they were when they were hashed first


def begin_stage() -> None:
    """Forget the checks of the stage before."""
    _checks.clear()
    _files.clear()


def add(check: Callable[[], None]) -> None:
    """Let `check` raise InputError, when the stage has run, for what has changed meanwhile."""
    _checks.append(check)


def hashed(path: Path) -> str:
    """The hash of a file that the stage under way reads, for its key. Raises OSError."""
    _files.setdefault(path, file_state(path))
    return sha256_of(path)


def was_read(path: Path) -> None:
    """The stage has read a file, and will read it no more: from now on it may change.

    Where nobody says so it has to stay what it is to the end of the stage, which may be hours.

    Raises:
        InputError: it has changed since it was hashed.
    """
    state = _files.pop(path, None)
    if state is not None and not (path.exists() and file_state(path) == state):
        raise changed(str(path))


def require_same() -> None:
    """Raises InputError where the stage under way has read something else than its key says."""
    for check in _checks:
        check()
    for path in [*_files]:
        was_read(path)

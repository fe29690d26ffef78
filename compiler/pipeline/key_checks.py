"""What must hold when a stage has run, so that its result may have the key that was made before.

Files that a stage reads are looked at twice: hashed for its key, and read by itself. Who makes a
part of the key adds what finds out whether both were of the same content.
"""

from collections.abc import Callable

_checks: list[Callable[[], None]] = []  # of the stage under way in this process


def begin_stage() -> None:
    """Forget the checks of the stage before."""
    _checks.clear()


def add(check: Callable[[], None]) -> None:
    """Let `check` raise InputError, when the stage has run, for what has changed meanwhile."""
    _checks.append(check)


def require_same() -> None:
    """Raises InputError where the stage under way has read something else than its key says."""
    for check in _checks:
        check()

"""Locks between processes that end with their holder, however it ends."""

import fcntl
import os
import platform
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def exclusive(path: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold `path` alone; `waiting` is told who holds it when that is somebody else."""
    descriptor = _acquire(path)
    if descriptor is None:
        waiting(holder(path))
        while (descriptor := _acquire(path, block=True)) is None:
            pass
    try:
        yield
    finally:
        _release(path, descriptor)


@contextmanager
def try_exclusive(path: Path) -> Iterator[bool]:
    """Hold `path` alone and yield True, or yield False at once when somebody else does."""
    descriptor = _acquire(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            _release(path, descriptor)


def holder(path: Path) -> str:
    """Who holds the lock, e.g. "process 4711 on buildhost"."""
    try:
        return path.read_text().strip() or "another process"
    except OSError:
        return "another process"


def _acquire(path: Path, *, block: bool = False) -> int | None:
    """A descriptor that holds the lock, or None: taken, or the file was replaced."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if block else fcntl.LOCK_NB))
        # The last holder removes the file, so whoever waited may now hold a lock without a name.
        if path.stat().st_ino != os.fstat(descriptor).st_ino:
            raise FileNotFoundError
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    # On a full disk there is no room for who we are; and if that were raised, nobody would ever
    # release what is held already.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())
    return descriptor


def _release(path: Path, descriptor: int) -> None:
    # In this order: once it is closed, somebody else may hold the lock of this very file.
    path.unlink(missing_ok=True)
    os.close(descriptor)


class Shared:
    """A lock that any number of processes hold at once, for the life of this object."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        weakref.finalize(self, os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)


@contextmanager
def nobody_in(path: Path) -> Iterator[bool]:
    """Yield True, and nobody gets a `Shared` lock on `path` meanwhile; or False at once where some
    process, this one included, holds one.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        yield alone
    finally:
        os.close(descriptor)

"""Housekeeping in the store: list, and remove what is old; artifacts and compiled objects alike."""

import contextlib
import os
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekiln.compiler.pipeline import locks
from edgekiln.compiler.pipeline.atomic_io import explained
from edgekiln.compiler.pipeline.places import place_is_there
from edgekiln.compiler.pipeline.record import DamagedError, read_record
from edgekiln.compiler.pipeline.store import Store
from edgekiln.runtime.limits import NO_FILE

DAY_S = 86_400
OBJECT = "object"
KEEP_WHILE_IN_USE_S = DAY_S  # what a running build may still read
_SWEEPING = "sweep"  # the lock of who removes


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One stored artifact, or an object file that compilations share."""

    key: str
    stage: str
    kind: str
    bytes: int
    used_s: float  # when it was last used, Unix time


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What `sweep` did."""

    artifacts: int  # removed
    objects: int  # removed
    freed_bytes: int
    kept: int
    spared: int  # kept only because a build is running


def entries(store: Store) -> tuple[Entry, ...]:
    """Every artifact, the longest unused first; damaged ones too, so gc can remove them.

    Raises:
        StorageError: the store cannot be read.
    """
    found = []
    with explained(store.root):
        for home in _children(store.objects):
            try:
                record = read_record(home)
                stage, kind = str(record.recipe["stage"]), str(record.kind)
            except DamagedError:
                stage, kind = "?", "damaged"
            except OSError as error:
                if error.errno not in NO_FILE:
                    raise
                stage, kind = "?", "damaged"
            with contextlib.suppress(FileNotFoundError):  # removed while we look
                found.append(
                    Entry(
                        key=home.name, stage=stage, kind=kind, bytes=_size(home),
                        used_s=home.lstat().st_mtime,
                    )
                )  # fmt: skip
    return tuple(sorted(found, key=_age_order))


def _age_order(entry: Entry) -> tuple[float, str]:
    return entry.used_s, entry.key


def objects(store: Store) -> tuple[Entry, ...]:
    """Every compiled object, the longest unused first. Raises StorageError."""
    found = []
    with explained(store.root):
        for path in _children(store.compiled):
            with contextlib.suppress(FileNotFoundError):  # removed while we look
                stat = path.lstat()
                if not path.name.startswith("."):
                    found.append(
                        Entry(
                            key=path.name, stage="compile", kind=OBJECT, bytes=stat.st_size,
                            used_s=stat.st_mtime,
                        )
                    )  # fmt: skip
    return tuple(sorted(found, key=_age_order))


def sweep(
    store: Store, keep_days: float | None = None, max_bytes: int | None = None, now_s: float = 0
) -> Swept:
    """Remove what was unused for `keep_days`, then the longest unused until `max_bytes` are left.

    Leftovers of killed runs go in any case, unfinished checkpoints after `keep_days`. While a
    build is running, what was used within the last day stays. Any number may sweep at once.

    Raises:
        StorageError: the store cannot be read or written.
    """
    now_s = now_s or time.time()
    if not _is_there(store.root):
        return Swept(artifacts=0, objects=0, freed_bytes=0, kept=0, spared=0)
    listed = sorted((*entries(store), *objects(store)), key=_age_order)
    left_bytes = sum(entry.bytes for entry in listed)
    removed: Counter[bool] = Counter()  # objects or not
    freed = spared = gone = 0
    with explained(store.root):
        store.prepare()
        for entry in listed:
            old = keep_days is not None and now_s - entry.used_s >= keep_days * DAY_S
            if not old and (max_bytes is None or left_bytes <= max_bytes):
                continue
            became = _remove_unused(store, entry, now_s)
            spared += became == "spared"
            gone += became == "gone"
            if became == "removed":
                removed[entry.kind == OBJECT] += 1
                freed += entry.bytes
            if became in ("removed", "gone"):
                left_bytes -= entry.bytes
        freed += _remove_leftovers(store, keep_days, now_s)
    return Swept(
        artifacts=removed[False],
        objects=removed[True],
        freed_bytes=freed,
        kept=len(listed) - removed.total() - gone,
        spared=spared,
    )


def _remove_unused(
    store: Store, entry: Entry, now_s: float
) -> Literal["removed", "gone", "used", "spared"]:
    """Remove an entry, unless it was used after it was listed, or a running build may read it."""
    path = (store.compiled if entry.kind == OBJECT else store.objects) / entry.key
    # While it goes no build begins, which could find it before. Other sweeps wait for their turn:
    # to each other they would look like builds.
    with (
        locks.exclusive(store.locks / _SWEEPING, lambda _who: None),
        locks.nobody_in(store.in_use) as alone,
    ):
        try:
            used_s = path.lstat().st_mtime
        except FileNotFoundError:
            return "gone"
        if not alone and now_s - used_s < KEEP_WHILE_IN_USE_S:
            return "spared"
        if used_s != entry.used_s:
            return "used"
        if entry.kind == OBJECT:
            _remove(path)
        else:
            store.drop(entry.key)
        return "removed"


def _remove_leftovers(store: Store, keep_days: float | None, now_s: float) -> int:
    """Working directories, locks and checkpoints of processes that are gone; bytes freed."""
    freed = 0
    for path in _children(store.locks):
        if path.is_symlink() or not path.is_file():
            freed += _remove(path)  # no lock of ours
    keys = {path.name.partition(".")[0] for path in _children(store.tmp)}
    keys |= {path.name for path in (*_children(store.locks), *_children(store.scratch))}
    for key in keys:
        with locks.try_exclusive(store.locks / key) as free:  # removes the lock file, too
            if not free:
                continue
            scratch = store.scratch / key
            stale = [path for path in _children(store.tmp) if path.name.startswith(f"{key}.")]
            if keep_days is not None and _age_s(scratch, now_s) >= keep_days * DAY_S:
                stale.append(scratch)
            for path in stale:
                freed += _remove(path)
    for path in _children(store.compiled):  # of a writer that was killed
        if path.name.startswith(".") and _age_s(path, now_s) >= DAY_S:
            freed += _remove(path)
    for entry in _children(store.index):
        key = store.indexed(entry.name)
        if not key or not _is_there(store.objects / key):
            _remove(entry)
    for place in _children(store.places):
        if not place_is_there(place):
            _remove(place)
    return freed


def _children(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where there is none. Raises OSError when it cannot be read."""
    try:
        return list(folder.iterdir())
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        return []


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _remove(path: Path) -> int:
    """Remove a file or folder, if nobody else has; the bytes that this frees."""
    size = _size(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return size


def _age_s(path: Path, now_s: float) -> float:
    try:
        return now_s - path.lstat().st_mtime
    except FileNotFoundError:
        return -1.0


def _size(path: Path) -> int:
    """The bytes of the files there; those that somebody removes while we look do not count."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(folder, name).lstat().st_size
    if not total and path.is_file():
        with contextlib.suppress(FileNotFoundError):
            total = path.stat().st_size
    return total

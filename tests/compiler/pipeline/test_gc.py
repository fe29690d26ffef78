"""Housekeeping: what gc removes, what it spares, and the locks it goes by."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgekiln.compiler.pipeline import gc, locks
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.store import Store
from tests.compiler.small_stages import Resumable, Upper, leftovers, runs

# Python 3.12 and later warn of any fork beside threads, which pytest-xdist has; the children run
# nothing but the store.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def test_gc_removes_what_a_killed_run_left_and_spares_its_checkpoint(store: Store) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=store.run, args=(Resumable(), None)
    )
    process.start()
    process.join()
    assert list(store.tmp.glob("*"))
    gc.sweep(store, keep_days=30)
    assert list(store.tmp.glob("*")) == list(store.locks.glob("*")) == []
    assert [path.name for path in store.scratch.glob("*/*")] == ["step"]
    gc.sweep(store, keep_days=0)
    assert leftovers(store) == []


def test_gc_does_not_touch_a_run_that_is_going_on(store: Store, src: Artifact, log: Path) -> None:
    stage = Upper(log=str(log), sleep_s=0.5)
    builder = multiprocessing.get_context("fork").Process(target=store.run, args=(stage, src))
    builder.start()
    while runs(log) == 0:
        time.sleep(0.01)
    swept = gc.sweep(store, keep_days=0)
    builder.join()
    assert builder.exitcode == 0
    assert swept.spared == 1
    assert store.run(stage, src).cached


def test_gc_removes_the_longest_unused_first(store: Store, src: Artifact, log: Path) -> None:
    old = store.run(Upper(log=str(log)), src)
    new = store.run(Upper(log=str(log), times=2), src)
    os.utime(old.path.parent, (0, 0))
    os.utime(src.path.parent, (1, 1))
    assert [entry.key for entry in gc.entries(store)] == [old.key, src.key, new.key]
    store = Store(store.root)  # the fixture's own store counts as a running build
    newest = gc.entries(store)[-1].bytes
    swept = gc.sweep(store, max_bytes=newest)
    assert (swept.artifacts, swept.kept) == (2, 1)
    assert [entry.key for entry in gc.entries(store)] == [new.key]
    assert not (store.index / old.sha256).exists()


def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from edgekiln.compiler.pipeline import locks\n"
        "with locks.exclusive(Path(sys.argv[1]), print): print('held', flush=True); time.sleep(60)"
    )
    lock = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", program, lock], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with locks.try_exclusive(lock) as held:
            assert not held
        assert locks.holder(lock).startswith(f"process {other.pid} on ")
        other.kill()
        other.wait()
    with locks.try_exclusive(lock) as held:
        assert held
    assert locks.holder(tmp_path / "nobody's") == "another process"


def test_what_a_build_has_found_meanwhile_is_not_swept(
    store: Store, src: Artifact, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that begins between the look at the store and the removal finds its artifact old."""
    stage = Upper(log=str(log))
    made = store.run(stage, src)
    for each in (made, src):
        os.utime(each.path.parent, (0, 0))
    root = store.root
    store._member = None  # as if the build had ended
    listing = gc.entries
    builders = []

    def listed_and_found(swept: Store) -> tuple[gc.Entry, ...]:
        found = listing(swept)
        builder = Store(root)
        assert builder.run(stage, src).cached
        builders.append(builder)
        return found

    monkeypatch.setattr(gc, "entries", listed_and_found)
    swept = gc.sweep(Store(root), keep_days=30)
    assert (swept.artifacts, swept.spared) == (1, 1)  # the source alone, which nobody looked for
    assert made.path.read_text() == "ABC"


def test_no_build_begins_while_an_artifact_is_removed(tmp_path: Path) -> None:
    lock = tmp_path / "in-use"
    joined = threading.Event()

    def join() -> None:
        locks.Shared(lock)
        joined.set()

    waiting = threading.Thread(target=join)
    with locks.nobody_in(lock) as alone:
        assert alone
        waiting.start()
        assert not joined.wait(0.3)
    assert joined.wait(60)
    waiting.join()
    member = locks.Shared(lock)
    with locks.nobody_in(lock) as alone:
        assert not alone
    del member


def test_sweeps_at_once_do_not_take_each_other_for_builds(
    store: Store, src: Artifact, log: Path
) -> None:
    for times in range(40):
        store.run(Upper(log=str(log), times=times + 1), src)
    root = store.root
    store._member = None
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    sweepers = [
        context.Process(target=lambda: told.put(gc.sweep(Store(root), keep_days=0)))
        for _ in range(4)
    ]
    for sweeper in sweepers:
        sweeper.start()
    swept = [told.get() for _ in sweepers]
    for sweeper in sweepers:
        sweeper.join()
    assert [each.spared for each in swept] == [0] * 4
    assert sum(each.artifacts for each in swept) == 41  # each is counted by who removed it

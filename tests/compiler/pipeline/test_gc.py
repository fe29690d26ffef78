"""Housekeeping: what gc removes, what it spares, and the locks it goes by."""

import multiprocessing
import os
import subprocess
import sys
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

"""The store's promises, with real processes, real kills and real disks."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from edgekiln.compiler import artifact as artifacts
from edgekiln.compiler import cache, locks
from edgekiln.compiler.artifact import Artifact
from edgekiln.compiler.stage import Kind, Stage, StageContext
from edgekiln.compiler.store import Store, default_root
from edgekiln.runtime.errors import InputError, MissingToolError, StorageError, TrainingError
from edgekiln.targets import profile

# Python 3.12 and later warn of any fork beside threads, which pytest-xdist has; the children run
# nothing but the store.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@dataclass(frozen=True, kw_only=True)
class Upper(Stage):
    """Upper-case a text; every run leaves a line in `log`."""

    name: ClassVar[str] = "upper"
    takes: ClassVar[tuple[Kind, ...]] = ("module",)
    gives: ClassVar[Kind] = "module"
    tools: ClassVar[tuple[str, ...]] = ("numpy",)
    suffix: ClassVar[str] = ".txt"

    log: str
    times: int = 1
    sleep_s: float = 0.0
    fail: bool = False

    def run(self, src: Path, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        with Path(self.log).open("a") as log:
            log.write("ran\n")
        dst.write_text(src.read_text().upper() * self.times)
        ctx.notes.append("made upper")
        time.sleep(self.sleep_s)
        if self.fail:
            raise TrainingError("diverged", "lower the learning rate")
        return {"letters": float(dst.stat().st_size)}


@dataclass(frozen=True, kw_only=True)
class Compile(Upper):
    name: ClassVar[str] = "compile"
    uses_target: ClassVar[bool] = True

    def run(self, src: Path, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        assert ctx.target is not None
        dst.write_text(src.read_text() + ctx.target.name)
        return {}


@dataclass(frozen=True, kw_only=True)
class Resumable(Stage):
    """Counts to ten, a checkpoint a step, and kills its own process once at five."""

    name: ClassVar[str] = "resumable"
    takes: ClassVar[tuple[Kind, ...]] = ()
    gives: ClassVar[Kind] = "module"
    suffix: ClassVar[str] = ".txt"

    def run(self, src: Path, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        assert src.read_bytes() == b""
        checkpoint = ctx.scratch / "step"
        first = int(checkpoint.read_text()) if checkpoint.exists() else 0
        for step in range(first, 10):
            dst.write_text("half-made")
            if step == 5 and first == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            checkpoint.write_text(str(step + 1))
        dst.write_text("done")
        return {"first": first}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def src(store: Store, tmp_path: Path) -> Artifact:
    (tmp_path / "in.txt").write_text("abc")
    return store.ingest(tmp_path / "in.txt", "module")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


def runs(log: Path) -> int:
    return len(log.read_text().splitlines())


def leftovers(store: Store) -> list[str]:
    """What lies in the store besides artifacts."""
    rooms = (store.tmp, store.scratch, store.locks)
    return [str(path) for room in rooms for path in room.glob("*")]


def test_the_second_run_is_found_and_equals_the_first(
    store: Store, src: Artifact, log: Path
) -> None:
    first = store.run(Upper(log=str(log)), src)
    second = store.run(Upper(log=str(log)), src)
    assert first.path.read_text() == "ABC"
    assert (first.cached, second.cached) == (False, True)
    assert replace(second, cached=False) == first
    assert first.notes == ("made upper",)
    assert runs(log) == 1
    assert leftovers(store) == []


def test_a_changed_option_version_or_input_is_another_artifact(
    store: Store, src: Artifact, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.txt").write_text("xyz")
    other = store.ingest(tmp_path / "other.txt", "module")
    keys = {store.run(Upper(log=str(log)), src).key}
    keys.add(store.run(Upper(log=str(log), times=2), src).key)
    keys.add(store.run(Upper(log=str(log)), other).key)
    monkeypatch.setattr(Upper, "version", 2)
    keys.add(store.run(Upper(log=str(log)), src).key)
    monkeypatch.setattr(artifacts.metadata, "version", lambda _tool: "999")
    keys.add(store.run(Upper(log=str(log)), src).key)
    assert len(keys) == 5
    assert runs(log) == 5


def test_only_stages_that_use_the_target_depend_on_it(
    store: Store, src: Artifact, log: Path
) -> None:
    avx2, vnni = profile.load("x86-64-v3"), profile.load("x86-avx512-vnni")
    assert store.run(Upper(log=str(log)), src, avx2) == replace(
        store.run(Upper(log=str(log)), src, vnni), cached=False
    )
    made = [
        store.run(Compile(log=str(log)), src, target).path.read_text() for target in (avx2, vnni)
    ]
    assert made == ["abcx86-64-v3", "abcx86-avx512-vnni"]


def test_the_chain_names_every_step_first_to_last(store: Store, src: Artifact, log: Path) -> None:
    last = store.run(Upper(log=str(log), times=2), store.run(Upper(log=str(log)), src))
    assert [record["stage"] for record in last.chain] == ["input", "upper", "upper"]
    for before, after in zip(last.chain, last.chain[1:], strict=False):
        assert after["input"] == before["sha256"]
    assert last.chain[-1]["options"]["times"] == 2
    assert "numpy" in last.chain[-1]["tools"]
    assert "wall_s" not in json.dumps(last.chain)


def test_an_artifact_copied_out_keeps_its_history_when_it_comes_back(
    store: Store, src: Artifact, log: Path, tmp_path: Path
) -> None:
    made = store.run(Upper(log=str(log)), src)
    (tmp_path / "copy.txt").write_bytes(made.path.read_bytes())
    assert store.ingest(tmp_path / "copy.txt", "module").chain == made.chain


def test_a_failed_stage_leaves_nothing_behind(store: Store, src: Artifact, log: Path) -> None:
    with pytest.raises(TrainingError, match="diverged"):
        store.run(Upper(log=str(log), fail=True), src)
    assert leftovers(store) == []
    assert [entry.stage for entry in cache.entries(store)] == ["input"]


def test_a_killed_run_resumes_from_its_checkpoint(store: Store) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=store.run, args=(Resumable(), None)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert cache.entries(store) == ()
    resumed = store.run(Resumable(), None)
    assert resumed.path.read_text() == "done"
    assert resumed.metrics == {"first": 5}
    assert leftovers(store) == []


def test_gc_removes_what_a_killed_run_left_and_spares_its_checkpoint(store: Store) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=store.run, args=(Resumable(), None)
    )
    process.start()
    process.join()
    assert list(store.tmp.glob("*"))
    cache.sweep(store, keep_days=30)
    assert list(store.tmp.glob("*")) == list(store.locks.glob("*")) == []
    assert [path.name for path in store.scratch.glob("*/*")] == ["step"]
    cache.sweep(store, keep_days=0)
    assert leftovers(store) == []


def test_two_builders_of_the_same_thing_make_it_once(
    store: Store, src: Artifact, log: Path
) -> None:
    stage = Upper(log=str(log), sleep_s=0.5)
    context = multiprocessing.get_context("fork")
    builders = [context.Process(target=store.run, args=(stage, src)) for _ in range(4)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert [builder.exitcode for builder in builders] == [0, 0, 0, 0]
    assert runs(log) == 1
    assert leftovers(store) == []


def test_who_waits_is_told_for_whom(store: Store, src: Artifact, log: Path) -> None:
    stage = Upper(log=str(log), sleep_s=0.5)
    first = multiprocessing.get_context("fork").Process(target=store.run, args=(stage, src))
    first.start()
    while runs(log) == 0:
        time.sleep(0.01)
    said: list[str] = []
    artifact = store.run(stage, src, None, lambda _done, _total, text: said.append(text))
    first.join()
    assert artifact.cached
    assert said == [f"waiting: process {first.pid} on {os.uname().nodename} is making the same"]


def test_gc_does_not_touch_a_run_that_is_going_on(store: Store, src: Artifact, log: Path) -> None:
    stage = Upper(log=str(log), sleep_s=0.5)
    builder = multiprocessing.get_context("fork").Process(target=store.run, args=(stage, src))
    builder.start()
    while runs(log) == 0:
        time.sleep(0.01)
    swept = cache.sweep(store, keep_days=0)
    builder.join()
    assert builder.exitcode == 0
    assert swept.spared == 1
    assert store.run(stage, src).cached


@pytest.mark.parametrize("damage", ["flipped", "emptied", "removed", "record"])
def test_a_damaged_artifact_is_named_and_made_again(
    store: Store, src: Artifact, log: Path, damage: str
) -> None:
    made = store.run(Upper(log=str(log)), src)
    if damage == "flipped":
        made.path.write_text("ABX")
    elif damage == "emptied":
        made.path.write_text("")
    elif damage == "removed":
        made.path.unlink()
    else:
        (made.path.parent / "record.json").write_text("{")
    again = store.run(Upper(log=str(log)), src)
    assert again.path.read_text() == "ABC"
    assert not again.cached
    assert str(made.path.parent) in again.remark
    assert again.remark.endswith(": made again")
    assert store.run(Upper(log=str(log)), src).remark == ""


def test_gc_removes_the_longest_unused_first(store: Store, src: Artifact, log: Path) -> None:
    old = store.run(Upper(log=str(log)), src)
    new = store.run(Upper(log=str(log), times=2), src)
    os.utime(old.path.parent, (0, 0))
    os.utime(src.path.parent, (1, 1))
    assert [entry.key for entry in cache.entries(store)] == [old.key, src.key, new.key]
    store = Store(store.root)  # the fixture's own store counts as a running build
    newest = cache.entries(store)[-1].bytes
    swept = cache.sweep(store, max_bytes=newest)
    assert (swept.artifacts, swept.kept) == (2, 1)
    assert [entry.key for entry in cache.entries(store)] == [new.key]
    assert not (store.index / old.sha256).exists()


def test_a_missing_input_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file: .*nothing\.pt"):
        store.ingest(tmp_path / "nothing.pt", "module")
    with pytest.raises(InputError, match="is a directory"):
        store.ingest(tmp_path, "module")


def test_a_missing_tool_is_named_with_the_command_that_installs_it(
    store: Store, src: Artifact, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Upper, "tools", ("no-such-distribution",))
    with pytest.raises(MissingToolError, match="no-such-distribution is not installed") as error:
        store.run(Upper(log=str(log)), src)
    assert error.value.hint == "pip install 'edgekiln[build]'"


def test_a_full_disk_is_a_storage_error_that_names_the_room_left(tmp_path: Path, log: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if not mounted(mount, "size=256k"):
        pytest.skip("mounting a small disk needs root")
    try:
        store = Store(mount / "store")
        (tmp_path / "in.txt").write_text("abc")
        src = store.ingest(tmp_path / "in.txt", "module")
        with pytest.raises(StorageError, match=r"no room left in the store .* bytes free") as error:
            store.run(Upper(log=str(log), times=200_000), src)
        assert "cache gc" in error.value.hint
        assert leftovers(store) == []
        assert store.run(Upper(log=str(log)), src).path.read_text() == "ABC"
        del store, src, error
    finally:
        subprocess.run(["umount", "--lazy", mount], check=True)


def test_a_read_only_store_serves_what_it_has_and_refuses_the_rest(
    tmp_path: Path, log: Path
) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if not mounted(mount, "size=256k"):
        pytest.skip("mounting a read-only disk needs root")
    try:
        (tmp_path / "in.txt").write_text("abc")
        store = Store(mount / "store")
        made = store.run(Upper(log=str(log)), store.ingest(tmp_path / "in.txt", "module"))
        del store
        subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
        store = Store(mount / "store")
        src = store.ingest(tmp_path / "in.txt", "module")
        assert store.run(Upper(log=str(log)), src).sha256 == made.sha256
        with pytest.raises(StorageError, match="cannot be written: Read-only file system") as error:
            store.run(Upper(log=str(log), times=2), src)
        assert "EDGEKILN_STORE" in error.value.hint
        del store, src, error
    finally:
        subprocess.run(["umount", "--lazy", mount], check=True)


def mounted(mount: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mount)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_a_store_below_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written: Not a directory"):
        Store(tmp_path / "file" / "store").run(Resumable(), None)


def test_the_store_is_tagged_as_a_cache(store: Store, src: Artifact) -> None:
    first_line = (store.root / "CACHEDIR.TAG").read_text().splitlines()[0]
    assert first_line == "Signature: 8a477f597d28d172789f06886806bc55"
    assert src.path.is_relative_to(store.root)


def test_the_root_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("EDGEKILN_STORE", raising=False)
    assert default_root() == tmp_path / "xdg" / "edgekiln"
    monkeypatch.setenv("EDGEKILN_STORE", str(tmp_path / "own"))
    assert default_root() == tmp_path / "own"


def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from edgekiln.compiler import locks\n"
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

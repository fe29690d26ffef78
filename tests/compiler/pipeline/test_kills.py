"""A build killed at any rename ends, run again, in the same bytes."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgekiln.compiler.build.driver import Request, build
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.pipeline import gc
from edgekiln.compiler.pipeline.stage import Advance, silent
from edgekiln.compiler.pipeline.store import Store
from edgekiln.targets import profile
from tests.compiler.small_chain import SMALL
from tests.compiler.small_stages import leftovers

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@contextmanager
def quiet(_label: str) -> Iterator[Advance]:
    yield silent


def run(home: Path) -> None:
    """Build from a file, and again from what the first stages made of it, copied out."""
    store = Store(home / "store")
    start = home / "net.pt"
    if not start.exists():
        start.write_text("start 0.5")
    target = profile.load("x86-64-v3")
    request = Request(
        model=str(start), targets=(target,), recipe=Recipe(data="digits"), out=home / "dist",
        trial_s=0,
    )  # fmt: skip
    build(request, store, quiet, SMALL)


def killed_at(rename: int, home: Path) -> bool:
    """Run in a process of its own that dies right after its n-th rename; whether it did."""

    def dying() -> None:
        done = 0
        real = {"rename": os.rename, "replace": os.replace}

        def counted(name: str) -> Callable[..., None]:
            def call(*arguments: Any, **options: Any) -> None:  # whatever `os` takes
                nonlocal done
                real[name](*arguments, **options)
                done += 1
                if done == rename:
                    os.kill(os.getpid(), signal.SIGKILL)

            return call

        os.rename, os.replace = counted("rename"), counted("replace")
        run(home)

    process = multiprocessing.get_context("fork").Process(target=dying)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def test_a_build_killed_at_any_rename_ends_in_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    run(tmp_path / "whole")
    expected = (tmp_path / "whole/dist/net-x86-64-v3.ekb").read_bytes()
    index = sorted(path.name for path in (tmp_path / "whole/store/index").iterdir())
    rename = 0
    while True:
        rename += 1
        home = tmp_path / str(rename)
        home.mkdir()
        if not killed_at(rename, home):
            break
        run(home)
        assert (home / "dist/net-x86-64-v3.ekb").read_bytes() == expected, rename
        store = Store(home / "store")
        assert sorted(path.name for path in store.index.iterdir()) == index, rename
        for entry in store.index.iterdir():
            found = store.find(entry.name)
            assert found is not None
            assert found.sha256 == entry.name
        gc.sweep(store)
        assert leftovers(store) == []
    assert rename > 10  # every stage publishes an artifact and an index entry


def test_history_lost_by_a_kill_is_there_again_when_the_artifact_is_found(tmp_path: Path) -> None:
    """As when an older version was killed between an artifact and its index entry."""
    run(tmp_path)
    store = Store(tmp_path / "store")
    before = {path.name: path.read_text() for path in store.index.iterdir()}
    for entry in list(store.index.iterdir()):
        entry.unlink()
    run(tmp_path)
    assert {path.name: path.read_text() for path in store.index.iterdir()} == before


def test_what_was_made_has_its_history_even_if_it_was_taken_in_first(tmp_path: Path) -> None:
    run(tmp_path)
    made = Store(tmp_path / "store")
    other = Store(tmp_path / "other")
    for entry in gc.entries(made):
        artifact = made.read(entry.key)
        if artifact is None or entry.stage != "export":
            continue
        other.ingest(artifact.path, artifact.kind)  # the bytes alone: nothing is known of them
        taken = other.find(artifact.sha256)
        assert taken is not None
        assert [record["stage"] for record in taken.chain] == ["input"]
    (tmp_path / "again").mkdir()
    (tmp_path / "other").rename(tmp_path / "again/store")
    run(tmp_path / "again")
    known = Store(tmp_path / "again/store").find(artifact_of("export", made))
    assert known is not None
    assert [record["stage"] for record in known.chain][-1] == "export"


def artifact_of(stage: str, store: Store) -> str:
    (key,) = [entry.key for entry in gc.entries(store) if entry.stage == stage]
    artifact = store.read(key)
    assert artifact is not None
    return artifact.sha256

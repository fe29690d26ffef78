"""Folders, pipes, devices and links where a store has files: nothing hangs or is believed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekiln.compiler.pipeline import gc
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.store import Store
from edgekiln.runtime.errors import StorageError
from tests.compiler.small_stages import Upper


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("x")


def beyond_memory(path: Path) -> None:
    with path.open("w") as file:
        file.truncate(1 << 36 if path.suffix == ".json" else 1 << 20)


@pytest.mark.parametrize("odd", [pipe, link_to_itself, endless, folder, beyond_memory])
@pytest.mark.parametrize("what", ["record", "artifact", "home", "index"])
def test_what_is_no_file_of_the_stores_is_replaced(
    store: Store, src: Artifact, log: Path, what: str, odd: Callable[[Path], None]
) -> None:
    """Folders, pipes, devices and links where files were: nothing hangs, nothing is believed."""
    made = store.run(Upper(log=str(log)), src)
    home = made.path.parent
    place = {
        "record": home / "record.json", "artifact": made.path, "home": home,
        "index": store.index / made.sha256,
    }[what]  # fmt: skip
    place.rename(store.root / "what was there")
    odd(place)
    assert store.find(made.sha256) is None
    gc.entries(store)
    again = store.run(Upper(log=str(log)), src)
    assert (again.path.read_text(), again.cached) == ("ABC", what == "index")
    found = store.find(made.sha256)
    assert found is not None
    assert found.path.read_text() == "ABC"
    gc.sweep(Store(store.root), keep_days=30)


def test_a_pipe_or_a_link_to_itself_anywhere_stops_no_sweep(store: Store, src: Artifact) -> None:
    for name, odd in {"pipe": pipe, "loop": link_to_itself, "folder": folder}.items():
        for shelf in (
            store.objects, store.index, store.scratch, store.tmp, store.places, store.compiled,
        ):  # fmt: skip
            shelf.mkdir(exist_ok=True)
            odd(shelf / f"{name:0<64}".replace("k", "a"))
    (store.root / "CACHEDIR.TAG").unlink()
    (store.root / "CACHEDIR.TAG").symlink_to("CACHEDIR.TAG")
    store._member = None  # as if the build had ended
    swept = gc.sweep(Store(store.root), keep_days=0)
    assert swept.kept == swept.spared == 0
    assert gc.entries(store) == gc.objects(store) == ()
    assert store.find(src.sha256) is None
    assert list(store.index.iterdir()) == list(store.places.iterdir()) == []


def test_a_store_that_is_none_is_said_in_words(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.root.mkdir()
    store.objects.symlink_to("objects")
    with pytest.raises(StorageError, match=r"cannot be .*written: ") as caught:
        store.run(Upper(log=str(tmp_path / "log")), store.ingest(Path(__file__), "module"))
    assert "EDGEKILN_STORE" in caught.value.hint

"""Whatever lies in a store: it is made again, removed or refused in words, never a traceback."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekiln.compiler.pipeline import gc
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.places import data_place
from edgekiln.compiler.pipeline.store import Store
from edgekiln.runtime.errors import StorageError
from tests.compiler.small_stages import Upper

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

DEEP = "[" * 100_000 + "]" * 100_000


def changed(**changes: Any) -> Callable[[str], str]:
    """A record of an earlier version, which has no seal, with these changes."""

    def change(text: str) -> str:
        plain = {key: value for key, value in json.loads(text).items() if key != "seal"}
        return json.dumps({**plain, **changes})

    return change


def other_digit(name: str) -> Callable[[str], str]:
    """Damage of one bit, by which the record is as good JSON as before."""

    def change(text: str) -> str:
        place = text.index(f'"{name}": ') + len(f'"{name}": ')
        return f"{text[:place]}{int(text[place]) ^ 1}{text[place + 1 :]}"

    return change


RECORDS: dict[str, Callable[[str], str | bytes]] = {
    "empty": lambda _text: "",
    "no text": lambda _text: b"\xff\xfe\x00",
    "a list": lambda _text: "[]",
    "deep": lambda _text: DEEP,
    "deep inside": lambda text: text.replace('"chain": [', f'"chain": [{DEEP}, ', 1),
    "a path that leaves": changed(file="../../../etc/passwd"),
    "no file": changed(file=""),
    "its own record": changed(file="record.json"),
    "a number for a name": changed(file=3),
    "no chain": changed(chain=[]),
    "a chain of numbers": changed(chain=[1, 2]),
    "a chain that is none": changed(chain=7),
    "metrics in words": changed(metrics={"a": "b"}),
    "metrics that are none": changed(metrics=[1]),
    "notes that are none": changed(notes="abc"),
    "an unknown kind": changed(kind="virus"),
    "a kind that is none": changed(kind={}),
    "another key's recipe": changed(recipe={"stage": "upper"}),
    "a recipe that is none": changed(recipe=None),
    "a stage that is none": changed(recipe={"stage": {"deep": []}}),
    "another format": changed(format=99),
    "a key too many": changed(more=1),
    "another metric": other_digit("letters"),
    "another time": other_digit("wall_s"),
    "another chain": changed(chain=[{"stage": "upper"}]),
    "another note": lambda text: text.replace("made upper", "made Upper"),
    "time in words": changed(wall_s="long"),
}


@pytest.mark.parametrize("damage", RECORDS)
def test_a_damaged_record_is_made_again(
    store: Store, src: Artifact, log: Path, damage: str
) -> None:
    made = store.run(Upper(log=str(log)), src)
    record = made.path.parent / "record.json"
    new = RECORDS[damage](record.read_text())
    record.write_bytes(new if isinstance(new, bytes) else new.encode())
    assert store.find(made.sha256) is None
    assert [entry.kind for entry in gc.entries(store) if entry.key == made.key] == ["damaged"]
    again = store.run(Upper(log=str(log)), src)
    assert (again.path.read_text(), again.cached) == ("ABC", False)
    assert again.remark.startswith(f"the stored artifact {made.path.parent} is damaged (")
    assert store.find(made.sha256) is not None


def test_a_record_of_an_earlier_version_is_found_though_it_has_no_seal(
    store: Store, src: Artifact, log: Path
) -> None:
    made = store.run(Upper(log=str(log)), src)
    record = made.path.parent / "record.json"
    record.write_text(changed()(record.read_text()))
    assert "seal" not in record.read_text()
    assert store.run(Upper(log=str(log)), src).cached


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xff", b"../../secret", b"0" * 64, b"ab\x00", b"x" * 100_000]
)
def test_a_damaged_index_entry_is_as_good_as_none(
    store: Store, src: Artifact, log: Path, content: bytes
) -> None:
    made = store.run(Upper(log=str(log)), src)
    (store.index / made.sha256).write_bytes(content)
    assert store.find(made.sha256) is None
    gc.sweep(store)
    assert not (store.index / made.sha256).exists()
    assert store.run(Upper(log=str(log)), src).cached
    assert store.find(made.sha256) is not None


def test_strange_things_in_every_folder_disturb_nobody(
    store: Store, src: Artifact, log: Path
) -> None:
    made = store.run(Upper(log=str(log)), src)
    for folder in (store.objects, store.index, store.scratch, store.tmp, store.locks, store.places):
        (folder / "a file").write_text("x")
        (folder / "a folder").mkdir()
        (folder / "a folder/inside").write_text("x")
        (folder / "nowhere").symlink_to("/no/such/place")
    store.compiled.mkdir()
    (store.compiled / ".a folder").mkdir()
    (store.compiled / "nowhere").symlink_to("/no/such/place")
    assert data_place(store, ({"uses": {"data": "a folder"}},)) == ""
    assert gc.entries(store)
    gc.objects(store)
    store = Store(store.root)
    gc.sweep(store, keep_days=30, max_bytes=10**9)
    assert store.find(made.sha256) is not None


def test_two_sweeps_at_once_remove_everything_and_say_no_word(
    store: Store, src: Artifact, log: Path
) -> None:
    for times in range(60):
        store.run(Upper(log=str(log), times=times + 1), src)
    root = store.root
    store._member = None  # as if the build had ended
    context = multiprocessing.get_context("fork")
    sweepers = [
        context.Process(target=lambda: gc.sweep(Store(root), keep_days=0)) for _ in range(4)
    ]
    for sweeper in sweepers:
        sweeper.start()
    for sweeper in sweepers:
        sweeper.join()
    assert [sweeper.exitcode for sweeper in sweepers] == [0] * 4
    assert gc.entries(Store(root)) == ()


def test_there_is_nothing_to_sweep_where_there_is_no_store(tmp_path: Path) -> None:
    swept = gc.sweep(Store(tmp_path / "none"), keep_days=0)
    assert (swept.artifacts, swept.kept) == (0, 0)
    assert not (tmp_path / "none").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize("hidden", ["root", "objects", "one artifact"])
def test_another_users_store_that_cannot_be_read_is_said_in_words(
    tmp_path: Path, hidden: str
) -> None:
    os.chmod(tmp_path, 0o777)  # noqa: PTH101
    for parent in tmp_path.parents:
        if parent.stat().st_uid == 0 and parent != Path("/") and "pytest" in parent.name:
            parent.chmod(0o755)
    log, given = tmp_path / "log", tmp_path / "in.txt"
    log.touch()
    log.chmod(0o666)
    given.write_text("abc")
    store = Store(tmp_path / "store")
    src = store.ingest(given, "module")
    made = store.run(Upper(log=str(log)), src)
    closed = {"root": store.root, "objects": store.objects, "one artifact": made.path.parent}
    closed[hidden].chmod(0o700)

    def as_somebody_else() -> None:
        os.setgid(65534)
        os.setuid(65534)
        theirs = Store(store.root)
        failures = []
        for action in (
            lambda: theirs.run(Upper(log=str(log)), src),
            lambda: gc.entries(theirs),
            lambda: gc.sweep(theirs, keep_days=0),
        ):
            try:
                action()
            except StorageError as error:
                failures.append(error.message)
        theirs.find(made.sha256)
        wanted = f"the store {store.root} cannot be read or written: Permission denied"
        os._exit(0 if failures and set(failures) == {wanted} else 1)

    process = multiprocessing.get_context("fork").Process(target=as_somebody_else)
    process.start()
    process.join()
    assert process.exitcode == 0


def test_an_error_names_the_users_file_and_not_the_stores(
    store: Store, tmp_path: Path, log: Path
) -> None:
    from edgekiln.compiler.stages.export import ExportStage
    from edgekiln.runtime.errors import InputError

    mine = tmp_path / "mine.pt"
    mine.write_bytes(b"PK no module")
    taken = store.ingest(mine, "module")
    with pytest.raises(InputError) as caught:
        store.run(ExportStage(), taken)
    assert caught.value.message == f"{mine}: not a file of torch.save, or damaged"
    assert str(store.root) not in f"{caught.value.message} {caught.value.hint} {caught.value}"
    made = store.run(Upper(log=str(log)), taken)
    with pytest.raises(InputError) as caught:
        store.run(ExportStage(), made)
    assert caught.value.message.startswith("the module that upper made: ")


def test_a_killed_process_leaves_its_locks_to_gc(store: Store, src: Artifact, log: Path) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=lambda: store.run(Upper(log=str(log), sleep_s=60), src)
    )
    process.start()
    while not log.read_text():
        pass
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    gc.sweep(store)
    assert list(store.locks.iterdir()) == []

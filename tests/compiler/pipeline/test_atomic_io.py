"""Disks that are full, read-only or no directory at all."""

import errno
import shutil
import subprocess
from pathlib import Path

import pytest

from edgekiln.compiler.pipeline import atomic_io
from edgekiln.compiler.pipeline.store import Store
from edgekiln.runtime.errors import StorageError
from tests.compiler.small_stages import Resumable, Upper, leftovers

# Python 3.12 and later warn of any fork beside threads, which pytest-xdist has; the children run
# nothing but the store.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


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


def test_a_full_folder_for_temporary_files_is_not_taken_for_a_full_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {tmp_path / "store": 1 << 30, tmp_path / "temporary": 100}
    monkeypatch.setattr(atomic_io, "gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.setattr(atomic_io, "free_bytes", free.__getitem__)
    with (
        pytest.raises(StorageError, match=r"no room left in .*/temporary$") as error,
        atomic_io.explained(tmp_path / "store"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.hint == "free some space, or set TMPDIR"


def test_what_cannot_be_written_leaves_no_folder_and_says_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that was there stays, and so does one that somebody has put a file into."""
    (tmp_path / "src").write_text("abc")
    (tmp_path / "there").mkdir()
    with pytest.raises(StorageError, match="too long") as error:
        atomic_io.copy_out(tmp_path / "src", tmp_path / "there" / "a" / "b" / ("x" * 300))
    assert error.value.hint == "choose a shorter name"
    assert list((tmp_path / "there").iterdir()) == []

    def full(*_names: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(StorageError, match="No space left") as error:
        atomic_io.copy_out(tmp_path / "src", tmp_path / "there" / "a" / "b" / "c.lib")
    assert error.value.hint == "free some space, or choose a directory on another disk"
    assert list((tmp_path / "there").iterdir()) == []


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

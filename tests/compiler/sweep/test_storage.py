"""Storages: shared by processes, and refused in the user's words."""

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.sweep import storage
from edgekiln.compiler.sweep.storage import open_storage
from edgekiln.compiler.sweep.study import SharedStudy
from edgekiln.compiler.sweep.sweep import sweep
from edgekiln.runtime.errors import ConfigError, EdgeKilnError, MissingToolError, StorageError
from tests.compiler.sweep.small import planned, swept, trained

ROOT = Path(__file__).parents[3]
WORKER = """
import sys
from pathlib import Path
from tests.compiler.sweep.small import swept
swept(Path(sys.argv[1]), storage=sys.argv[2], trials=6, params=("distill.rate=0.05..0.85",))
"""


def test_two_processes_share_a_study_and_do_nothing_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    command = [sys.executable, "-c", WORKER, str(tmp_path), url]
    workers = [
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told = [worker.communicate(timeout=300)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], told
    assert told == ["", ""]
    result = swept(tmp_path, storage=url, trials=6, params=("distill.rate=0.05..0.85",))
    assert len(result.trials) == 6
    assert len(trained(tmp_path)) == len(set(trained(tmp_path))) == 6


def test_studies_in_two_directories_do_not_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have one name, as they have where nobody gives any, and one store."""
    store, numbers = Store(tmp_path / "store"), []
    with contextlib.ExitStack() as held:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            monkeypatch.chdir(tmp_path / name)
            plan = planned(tmp_path / name, storage="sqlite:///study.db")
            study = held.enter_context(contextlib.closing(SharedStudy(plan, store)))
            claim = held.enter_context(study.claim())
            assert claim is not None
            numbers.append(claim.number)
    assert numbers == [0, 0]


def test_jobs_share_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKILN_STORE", str(tmp_path / "store"))
    monkeypatch.syspath_prepend(str(ROOT))  # where workers find the stages
    seen: list[tuple[int, int]] = []
    plan = planned(tmp_path, trials=6, jobs=2, params=("distill.rate=0.05..0.85",))
    result = sweep(
        plan, Store(tmp_path / "store"), "", lambda done, total, _text: seen.append((done, total))
    )
    assert len(result.trials) == len(set(trained(tmp_path))) == len(trained(tmp_path)) == 6
    assert result.best is not None
    assert {total for _, total in seen} == {6}


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("study.db", ConfigError, "names no storage"),
        ("sqlite://", ConfigError, "names no storage"),
        ("foo://x", ConfigError, "no such kind of storage"),
        ("sqlite:////no/such/study.db", StorageError, "there is no directory /no/such"),
        ("journal:////no/such/study.log", StorageError, "there is no directory /no/such"),
        ("oracle://me:secret@nowhere/x", MissingToolError, "oracledb|cx_Oracle"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_clear_error(
    url: str, error: type[EdgeKilnError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        open_storage(url)
    assert caught.value.message.startswith("--storage ")
    assert "secret" not in caught.value.message + caught.value.hint
    assert caught.value.hint


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_a_file_that_holds_no_study_is_refused_and_left_as_it_is(
    tmp_path: Path, scheme: str
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes, " * 50 + "\n")
    with pytest.raises(StorageError, match=r"--storage .*notes\.txt: "):
        swept(tmp_path, storage=f"{scheme}:///{path}")
    assert path.read_text() == "my notes, " * 50 + "\n"


@pytest.mark.parametrize(
    "damage",
    [
        "delete from trial_values",
        "delete from trial_user_attributes",
        "delete from trial_params",
        "update trial_params set param_value = 99, distribution_json = '[]'",
        "update trial_user_attributes set value_json = '[]'",
        "update trial_user_attributes set value_json = 'nonsense'",
    ],
)
def test_a_damaged_study_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    swept(tmp_path, storage=url, trials=2)
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as database:
        database.execute(damage)
        database.commit()
    if damage == "delete from trial_values":  # the trials tell their measures themselves
        assert len(swept(tmp_path, storage=url, trials=2).trials) == 2
        return
    with pytest.raises(StorageError, match=r"--storage .*study\.db: "):
        swept(tmp_path, storage=url, trials=2)


def test_pages_of_a_database_that_are_nonsense_are_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    swept(tmp_path, storage=f"sqlite:///{path}", trials=2)
    content = bytearray(path.read_bytes())
    content[4096:12288] = b"\xa5" * 8192
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"--storage .*study\.db: "):
        swept(tmp_path, storage=f"sqlite:///{path}", trials=2)


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingToolError, match="package optuna is not installed") as caught:
        storage.load_optuna()
    assert caught.value.hint == "pip install 'edgekiln[search]'"


def test_optuna_says_nothing_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    swept(tmp_path, trials=2)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_nothing_is_begun_where_the_request_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this build has no stage prune"):
        planned(tmp_path, params=("prune.seed=1,2",))
    assert not (tmp_path / "study.log").exists()
    assert not (tmp_path / "dist").exists()

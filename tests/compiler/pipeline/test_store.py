"""The store's promises, with real processes and real kills."""

import importlib.metadata
import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgekiln.compiler.pipeline import gc, key
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.atomic_io import default_root
from edgekiln.compiler.pipeline.source_models import source_model
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.stages.agree import AgreeStage
from edgekiln.runtime.errors import InputError, MissingToolError, StorageError, TrainingError
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.targets import profile
from tests.compiler.small_stages import Compile, Resumable, Upper, leftovers, runs

# Python 3.12 and later warn of any fork beside threads, which pytest-xdist has; the children run
# nothing but the store.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def test_the_second_run_is_found_and_equals_the_first(
    store: Store, src: Artifact, log: Path
) -> None:
    first = store.run(Upper(log=str(log)), src)
    second = store.run(Upper(log=str(log)), src)
    assert first.path.read_text() == "ABC"
    assert (first.cached, second.cached) == (False, True)
    assert replace(second, cached=False) == first
    assert first.notes == ("made upper",)
    assert [curves.series for curves in second.curves] == [{"loss/train": (2.0, 1.0)}]
    assert runs(log) == 1
    assert leftovers(store) == []


def test_a_changed_option_input_code_or_tool_is_another_artifact(
    store: Store, src: Artifact, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.txt").write_text("xyz")
    other = store.ingest(tmp_path / "other.txt", "module")
    keys = {store.run(Upper(log=str(log)), src).key}
    keys.add(store.run(Upper(log=str(log), times=2), src).key)
    keys.add(store.run(Upper(log=str(log)), other).key)
    monkeypatch.setattr(key, "code_sha256", lambda _module: "changed")
    keys.add(store.run(Upper(log=str(log)), src).key)
    monkeypatch.setattr(importlib.metadata, "version", lambda _tool: "999")
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


def test_bytes_that_two_stages_made_are_known_by_the_first(
    store: Store, src: Artifact, log: Path
) -> None:
    first = store.run(Upper(log=str(log)), src)
    second = store.run(Upper(log=str(log), sleep_s=0.001), src)
    assert second.sha256 == first.sha256
    assert second.key != first.key
    found = store.find(first.sha256)
    assert found is not None
    assert found.key == first.key


def test_bytes_whose_maker_is_damaged_are_known_as_what_was_taken_in(
    store: Store, src: Artifact, log: Path, tmp_path: Path
) -> None:
    made = store.run(Upper(log=str(log)), src)
    copy = tmp_path / "copy.txt"
    copy.write_bytes(made.path.read_bytes())
    (made.path.parent / "record.json").write_text("{")
    taken = store.ingest(copy, "module")
    found = store.find(made.sha256)
    assert found is not None
    assert (found.key, found.path.read_text()) == (taken.key, "ABC")
    assert found.key != made.key


def test_what_is_known_by_its_content_may_lie_anywhere(tmp_path: Path) -> None:
    reports = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "float.onnx").write_bytes(b"the same")
        stage = AgreeStage(reference=str(tmp_path / name / "float.onnx"))
        reports.append(key.key_of(key.recipe_of(stage, None, None)))
    (tmp_path / "b" / "float.onnx").write_bytes(b"another")
    changed = key.key_of(key.recipe_of(stage, None, None))
    assert reports[0] == reports[1] != changed


def test_a_store_that_cannot_be_read_is_not_one_without_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EDGEKILN_STORE", str(tmp_path / "file"))
    spec = ProgramSpec(
        name="net", target="host", machine="x86_64", features=(), isa="", inputs=(), outputs=(),
        arena_bytes=0, weights_bytes=0, code_bytes=0, layers=(), model_sha256="0" * 64,
    )  # fmt: skip
    with pytest.raises(StorageError, match=r"the store .*file cannot be written: Not a directory"):
        source_model(spec)


def test_a_failed_stage_leaves_nothing_behind(store: Store, src: Artifact, log: Path) -> None:
    with pytest.raises(TrainingError, match="diverged"):
        store.run(Upper(log=str(log), fail=True), src)
    assert leftovers(store) == []
    assert [entry.stage for entry in gc.entries(store)] == ["input"]


def test_a_killed_run_resumes_from_its_checkpoint(store: Store) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=store.run, args=(Resumable(), None)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert gc.entries(store) == ()
    resumed = store.run(Resumable(), None)
    assert resumed.path.read_text() == "done"
    assert resumed.metrics == {"first": 5}
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


def test_a_missing_input_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file: .*nothing\.pt") as caught:
        store.ingest(tmp_path / "nothing.pt", "module")
    assert caught.value.hint
    with pytest.raises(InputError, match="is a directory"):
        store.ingest(tmp_path, "module")


def test_a_missing_tool_is_named_with_the_command_that_installs_it(
    store: Store, src: Artifact, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Upper, "tools", ("no-such-distribution",))
    with pytest.raises(MissingToolError, match="no-such-distribution is not installed") as error:
        store.run(Upper(log=str(log)), src)
    assert error.value.hint == "pip install 'edgekiln[build]'"


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

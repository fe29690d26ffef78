"""A shared store: found by other machines, verified, and no need."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner

from edgekiln.compiler.cli.group import edgekiln
from edgekiln.compiler.pipeline import remote_store
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.remote_store import SharedStore, open_store
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.pipeline.store import Store
from edgekiln.runtime.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Write(Stage):
    """Its text as the artifact."""

    name: ClassVar[str] = "export"
    takes: ClassVar[tuple[Kind, ...]] = ()
    gives: ClassVar[Kind] = "onnx"
    suffix: ClassVar[str] = ".onnx"

    text: str = "text"

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:  # noqa: ARG002
        dst.write_text(self.text)
        return {"length": len(self.text)}


@dataclass(frozen=True, kw_only=True)
class Never(Write):
    """The same key; whoever runs it has not found the artifact."""

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:  # noqa: ARG002
        raise AssertionError("it was there")


def packed(tmp_path: Path) -> Path:
    (file,) = (tmp_path / "shared").iterdir()
    return file


def store(tmp_path: Path, name: str) -> SharedStore:
    return SharedStore(str(tmp_path / "shared"), tmp_path / name)


def test_what_one_machine_made_another_finds(tmp_path: Path) -> None:
    made = store(tmp_path, "one").run(Write(), None)
    found = store(tmp_path, "two").run(Never(), None)
    assert (made.cached, found.cached) == (False, True)
    assert found.path.read_text() == "text"
    assert (found.sha256, found.chain, found.metrics) == (made.sha256, made.chain, made.metrics)
    assert store(tmp_path, "two").find(made.sha256) is not None


@pytest.mark.parametrize("damage", ["truncated", "flipped", "another key"])
def test_what_is_damaged_there_is_made_again_and_mended(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store(tmp_path, "one").run(Write(), None)
    content = packed(tmp_path).read_bytes()
    if damage == "truncated":
        packed(tmp_path).write_bytes(content[:1000])
    elif damage == "flipped":
        packed(tmp_path).write_bytes(content.replace(b"text", b"TEXT", 1))
    else:
        name = packed(tmp_path).name
        packed(tmp_path).unlink()
        store(tmp_path, "other").run(Write(text="other"), None)
        packed(tmp_path).rename(tmp_path / "shared" / name)
    again = store(tmp_path, "two").run(Write(), None)
    assert not again.cached
    assert again.path.read_text() == "text"
    assert "note: cannot read the store" in capsys.readouterr().err
    assert store(tmp_path, "three").run(Never(), None).cached


def test_a_store_that_cannot_be_reached_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shared").write_text("a file where the directory should be")
    assert store(tmp_path, "one").run(Write(), None).path.read_text() == "text"
    assert "note: cannot write the store" in capsys.readouterr().err


def test_what_cannot_be_reached_is_said_once_without_the_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = SharedStore("ftp://me:secret@127.0.0.1:1/x", tmp_path / "one")
    assert [shared.run(Write(text=text), None).cached for text in "ab"] == [False, False]
    said = capsys.readouterr().err
    assert said.count("note:") == 1
    assert "cannot read the store ftp://me:***@127.0.0.1:1/x: [Errno 111]" in said
    assert "secret" not in said


def test_a_server_that_is_silent_is_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_store, "ANSWER_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ftp://127.0.0.1:{silent.getsockname()[1]}/x"
        shared = SharedStore(url, tmp_path / "one")
        assert shared.run(Write(), None).path.read_text() == "text"
    assert capsys.readouterr().err == f"note: cannot read the store {url}: no answer within 1 s\n"


def test_a_wrong_url_is_said_at_once() -> None:
    with pytest.raises(ConfigError, match="store foo://x: Protocol not known: foo"):
        open_store("foo://x")
    assert type(open_store()) is Store


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from edgekiln.compiler.pipeline.remote_store import SharedStore\n"
        "root = Path(sys.argv[1]); model = root / 'model.onnx'\n"
        "SharedStore(str(root / 'shared'), root / sys.argv[2]).ingest(model, 'onnx')\n"
    )
    (tmp_path / "model.onnx").write_bytes(bytes(1_000_000))
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(index)])
        for index in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert packed(tmp_path).stat().st_size > 1_000_000
    reader = store(tmp_path, "reader").ingest(tmp_path / "model.onnx", "onnx")
    assert reader.cached


def test_an_upload_that_fails_leaves_nothing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    def full(_fs: object, _from: str, _to: str) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(LocalFileSystem, "mv", full)
    store(tmp_path, "one").run(Write(), None)
    assert "note: cannot write the store" in capsys.readouterr().err
    assert list((tmp_path / "shared").iterdir()) == []


def test_what_killed_uploads_left_goes_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKILN_STORE", str(tmp_path / "one"))
    store(tmp_path, "one").run(Write(), None)
    whole = packed(tmp_path)
    stale, fresh = (whole.with_name(f"{whole.name}.{digit * 32}") for digit in "ab")
    for path in (stale, fresh):
        path.write_bytes(whole.read_bytes()[:700])
    foreign = whole.with_name("notes.tar.gz")
    foreign.touch()
    for path in (whole, stale, foreign):
        os.utime(path, (1e9, 1e9))
    words = ["cache", "gc", "--store", str(tmp_path / "shared"), "--json"]
    done = CliRunner().invoke(edgekiln, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["freed_bytes"] == 700
    assert {*(tmp_path / "shared").iterdir()} == {whole, fresh, foreign}

"""Only regular files are read and replaced; whoever may not read one is told so."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekiln.compiler.build import recipe
from edgekiln.compiler.ci import config, lock, result
from edgekiln.compiler.evaluation.oracle import Oracle
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.tuning import table
from edgekiln.models import data
from edgekiln.models.data.unlabelled import fingerprint
from edgekiln.models.torch_file import read_torch_file
from edgekiln.runtime import bundle, files, limits, npy
from edgekiln.runtime.device import address
from edgekiln.runtime.engines import Placement
from edgekiln.runtime.errors import EdgeKilnError, StorageError
from edgekiln.runtime.images import read_image
from edgekiln.runtime.ort_engine import OrtEngine
from edgekiln.targets import files as target_files

# What reads a file that a user names, and the name of that file.
READERS: dict[str, Callable[[Path], object]] = {
    "recipe.toml": recipe.load,
    "target.toml": lambda path: target_files.read(str(path)),
    "edgekiln.toml": config.load,
    "edgekiln.lock": lock.read,
    "results.json": result.read,
    "tuning.jsonl": table.read,
    "m.onnx": io.load_model,
    "m.tflite": io.load_model,
    "beside.onnx": lambda path: Oracle(path, ()),
    "measured.onnx": lambda path: OrtEngine(path, Placement(threads=1, cpus=())),
    "m.pt": read_torch_file,
    "m.lib": bundle.read_content,
    "taken_in.lib": lambda path: Store().ingest(path, "lib"),
    "x.npy": npy.read_npy,
    "x.npz": lambda path: npy.read_archive(path, limits.INPUTS),
    "x.png": lambda path: read_image(path, 1, 1, "L"),
    "images-idx3-ubyte": lambda path: data.load(str(path)),
    "folder/x.png": lambda path: data.load_samples(str(path.parent), 0),
    "calibration/x.png": lambda path: data.load_samples(f"{path.parent}?size=8", 0),
    "photos/cat/x.png": lambda path: data.load(str(path.parents[1])),
    "sounds/cat/x.wav": lambda path: data.load(str(path.parents[1])),
}


@pytest.mark.parametrize("name", READERS)
def test_a_named_pipe_is_refused_wherever_a_file_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKILN_STORE", str(tmp_path / "store"))
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(EdgeKilnError) as caught:
        READERS[name](path)
    assert str(path) in caught.value.message
    assert "not a regular file" in caught.value.message or "neither a file" in caught.value.message
    assert caught.value.hint


def test_the_hash_of_samples_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(EdgeKilnError, match=r"x\.png: cannot be read: is not a regular file$"):
        fingerprint(str(tmp_path))


def test_a_list_of_devices_is_a_regular_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "devices.toml")
    monkeypatch.setenv("EDGEKILN_DEVICES", str(tmp_path / "devices.toml"))
    with pytest.raises(EdgeKilnError, match=r"devices\.toml: is not a regular file$"):
        address.named()


def test_a_device_is_not_replaced_by_an_output(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(StorageError, match="pipe: it is not a regular file"),
        files.written_whole(tmp_path / "pipe") as stream,
    ):
        stream.write(b"x")
    assert (tmp_path / "pipe").is_fifo()


def test_who_may_not_read_a_file_is_told_to_make_it_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    for name in ("recipe.toml", "m.onnx", "m.pt", "m.lib", "x.npy", "x.png", "tuning.jsonl"):
        with pytest.raises(EdgeKilnError, match="Permission denied") as caught:
            READERS[name](tmp_path / name)
        assert caught.value.hint == "make it, and the folders that it lies in, readable for you"


def test_what_is_no_picture_is_named_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"no picture")
    with pytest.raises(EdgeKilnError) as caught:
        read_image(path, 8, 8, "RGB")
    assert caught.value.message == f"{path}: cannot read this image: of no format that is known"

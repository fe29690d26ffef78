"""A real program, small enough to write by hand: fixtures/model.c, compiled by gcc."""

import platform
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekiln.runtime import bundle, manifest
from edgekiln.runtime.manifest import (
    Layer,
    Manifest,
    Preprocessing,
    ProgramSpec,
    TensorSpec,
)
from tests.runtime import c_runner
from tests.runtime.device import sshd as server

FIXTURES = Path(__file__).parent / "fixtures"

TOY = ProgramSpec(
    name="toy",
    target="host",
    machine=platform.machine(),
    features=(),
    isa="none",
    inputs=(
        TensorSpec(
            name="x",
            shape=(1, 3, 4, 4),
            dtype="float32",
            preprocessing=Preprocessing(scale=0.5),
        ),
    ),
    outputs=(TensorSpec(name="y", shape=(1, 3), dtype="float32", labels=("red", "green", "blue")),),
    arena_bytes=192,
    weights_bytes=0,
    code_bytes=512,
    layers=(
        Layer(
            name="q",
            op="quantize",
            kernel="quantize",
            macs=0,
            integer=True,
            offset=0,
            output=TensorSpec(name="q", shape=(1, 3, 4, 4), dtype="uint8", scale=1.0, zero_point=7),
            layout="NHWC",
            halo=(1, 1, 1, 1),
            work=4,
        ),
        Layer(
            name="y",
            op="sum",
            kernel="sum",
            macs=48,
            integer=False,
            reason="it is a toy",
            output=TensorSpec(name="y", shape=(1, 3), dtype="float32"),
        ),
    ),
    model_sha256="0" * 64,
)


def toy_sums(x: NDArray[np.generic]) -> NDArray[np.generic]:
    """What the toy computes from (N, 3, 4, 4): truncated to whole numbers of 0..248 first."""
    return np.trunc(np.clip(x, -7, 248) + 7).sum(axis=(2, 3)) - 7 * 16


def toy_files(**changes: Any) -> dict[str, bytes]:
    """The toy's program.json with these changes."""
    return {"program.json": manifest.text_of(replace(TOY, **changes)).encode()}


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Sshd]:
    """A board's; tests that ask for it skip where `server.SSHD` is None."""
    running = server.start(tmp_path_factory.mktemp("sshd"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def toy_library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    library = tmp_path_factory.mktemp("toy") / "libmodel.so"
    command = ["gcc", "-O2", "-shared", "-fPIC", "-o", library, FIXTURES / "model.c"]
    subprocess.run(command, check=True)
    return library.read_bytes()


@pytest.fixture(scope="session")
def toy_runner(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The runner that ships, around the toy."""
    home = tmp_path_factory.mktemp("toy-runner")
    return c_runner.link(home, [FIXTURES / "model.c"], "-O1", "-static").read_bytes()


@pytest.fixture
def toy_lib(tmp_path: Path, toy_library: bytes) -> Callable[..., Path]:
    """Writes a `.lib` of the toy; keywords change its program.json."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "toy.lib"
        bundle.write_lib(path, toy_files(**changes) | {"libmodel.so": toy_library})
        return path

    return write


@pytest.fixture
def toy_bundle(tmp_path: Path, toy_library: bytes) -> Callable[..., Path]:
    """Writes a `.ekb` of the toy; keywords change its program, `extra` adds files."""

    def write(extra: Mapping[str, bytes] | None = None, **changes: Any) -> Path:
        spec = replace(TOY, **changes)
        files = toy_files(**changes) | {"libmodel.so": toy_library} | dict(extra or {})
        hashes = {name: bundle.sha256(content) for name, content in files.items()}
        text = manifest.text_of(Manifest(program=spec, files=hashes, provenance=())).encode()
        sealed = {**files, bundle.MANIFEST: text, bundle.SEAL: bundle.seal(text)}
        path = tmp_path / "toy.ekb"
        bundle.write_tar(path, sealed, executable={"runner"})
        return path

    return write


@pytest.fixture
def onnx_model(tmp_path: Path) -> Path:
    """y = x + x, with a named batch."""
    onnx = pytest.importorskip("onnx")
    text = """<ir_version: 10, opset_import: ["" : 18]>
        add (float[batch, 3, 4, 4] x) => (float[batch, 3, 4, 4] y) { y = Add(x, x) }"""
    path = tmp_path / "add.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    return path

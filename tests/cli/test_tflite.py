"""A TFLite file from the command line to a program, which computes the file's own arithmetic."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgekiln.benchmarks.tflite.network import network
from edgekiln.compiler.cli.group import edgekiln
from edgekiln.compiler.onnx_model.io import load_model
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.runtime.runner import AotRunner


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network's library, made by the command."""
    home = tmp_path_factory.mktemp("tflite")
    (home / "net.tflite").write_bytes(network(np.random.default_rng(0)).file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKILN_STORE", str(home / "store"))
        words = ["compile", str(home / "net.tflite"), "-o", str(home / "net.lib")]
        result = CliRunner().invoke(edgekiln, words)
    assert result.exit_code == 0, result.output
    assert "note: it was read as ONNX, with TFLite's own arithmetic" in result.stderr
    return home / "net.lib"


def test_a_program_takes_and_gives_the_codes_of_its_file(program: Path) -> None:
    runner = AotRunner.open(program)
    session = Session(load_model(program.with_suffix(".tflite")), optimize=False)
    rng = np.random.default_rng(1)
    for _ in range(10):
        x = rng.integers(-128, 128, (1, 12, 10, 3)).astype(np.int8)
        np.testing.assert_array_equal(runner.run(x)[0], session(x)[0])


def test_verify_finds_every_layer_identical(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKILN_STORE", str(program.parent / "store"))
    words = ["verify", str(program), "--model", str(program.with_suffix(".tflite"))]
    result = CliRunner().invoke(edgekiln, [*words, "--samples", "3"])
    assert result.exit_code == 0, result.output
    assert "9 of 9 integer layers identical to ONNX Runtime on 3 samples" in result.output

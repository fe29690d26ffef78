"""A transformer whose residual stream is float, from the command line to a program."""

from pathlib import Path

import numpy as np
import onnx

import edgekiln.runtime
from edgekiln.compiler.onnx_model.io import load_model
from edgekiln.compiler.onnx_model.session import Session
from tests.cli.conftest import Cli
from tests.compiler.quantization.test_residual_sums import LAYER, WIDTH, blocks


def test_a_program_gives_what_its_model_does(cli: Cli, tmp_path: Path) -> None:
    onnx.save(blocks(LAYER, views=True), tmp_path / "m.onnx")
    draw = np.random.default_rng(3)
    np.save(tmp_path / "x.npy", draw.normal(size=(64, 6, WIDTH)).astype(np.float32))
    quantized = cli("quantize", "m.onnx", "-o", "q.onnx", "--data", "x.npy", "--min-sqnr", 28)
    assert "residual sums in float: SQNR" in quantized.output
    assert cli("compile", "q.onnx", "-o", "m.lib").exit_code == 0
    x = draw.normal(size=(1, 6, WIDTH)).astype(np.float32)
    (real,) = Session(load_model(Path("q.onnx")), optimize=False)({"x": x})
    got = np.asarray(edgekiln.runtime.load("m.lib")(x))
    np.testing.assert_allclose(got, real, atol=1e-4)

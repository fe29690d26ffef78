"""`edgekiln slim`: from a model of the zoo to a program with several operating points."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from edgekiln.compiler.build import adaptive
from edgekiln.compiler.cli.group import edgekiln
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.runtime import load
from edgekiln.runtime.bundle import Bundle


@pytest.mark.slow
def test_a_model_becomes_a_bundle_whose_points_share_their_weights(tmp_path: Path) -> None:
    out = tmp_path / "adaptive.ekb"
    words = [
        "slim", "tests.compiler.slim_net:small", "--data", "digits", "--points", "2",
        "--least", "0.5", "--epochs", "8", "-o", str(out), "--json",
    ]  # fmt: skip
    result = CliRunner().invoke(edgekiln, words, env={"EDGEKILN_STORE": str(tmp_path / "store")})
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    wide, narrow = document["points"]
    assert (wide["name"], narrow["name"]) == ("full", "w50")
    assert narrow["macs"] < 0.4 * wide["macs"]
    assert min(wide["score"]["value"], narrow["score"]["value"]) > 0.5
    assert narrow["shared"] > 0.9
    chain = Bundle.open(out).manifest.provenance
    stages = ["initialize", "slim", "point", "export", "quantize", "compile"]
    assert [record["stage"] for record in chain] == stages
    assert chain[1]["options"]["epochs"] == 8
    net = load(out)
    image = np.zeros((1, *net.inputs[0].shape[1:]), np.float32)
    first = np.asarray(net(image))
    net.set_point("w50")
    assert np.asarray(net(image)).shape == first.shape
    for name in ("full", "w50"):
        onnx.checker.check_model(onnx.load(tmp_path / f"adaptive-{name}.onnx"))


@pytest.mark.slow
def test_a_point_that_another_command_replaces_is_in_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, mine = tmp_path / "adaptive.ekb", adaptive._Adaptive._stage

    def stage(self: Any, name: str, src: Artifact, *args: Any, **given: Any) -> Artifact:
        if name == "compile":
            (tmp_path / "adaptive-w50.onnx").write_bytes(src.path.read_bytes())
        return mine(self, name, src, *args, **given)

    monkeypatch.setattr(adaptive._Adaptive, "_stage", stage)
    words = [
        "slim", "tests.compiler.slim_net:small", "--data", "digits?limit=300", "--points", "2",
        "--least", "0.5", "--epochs", "1", "-o", str(out),
    ]  # fmt: skip
    result = CliRunner().invoke(edgekiln, words, env={"EDGEKILN_STORE": str(tmp_path / "store")})
    assert result.exit_code == 3, result.output
    assert "adaptive-w50.onnx was changed while it was read" in result.output
    assert not out.exists()


def test_the_result_must_be_called_a_bundle(tmp_path: Path) -> None:
    words = ["slim", "resnet8", "-o", str(tmp_path / "x.onnx")]
    result = CliRunner().invoke(edgekiln, words)
    assert result.exit_code == 2
    assert "x.ekb" in result.output

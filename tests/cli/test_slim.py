"""`edgekiln slim`: from a model of the zoo to a program with several operating points."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgekiln.compiler.cli.group import edgekiln
from edgekiln.runtime import load


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
    net = load(out)
    image = np.zeros((1, *net.inputs[0].shape[1:]), np.float32)
    first = np.asarray(net(image))
    net.set_point("w50")
    assert np.asarray(net(image)).shape == first.shape
    assert (tmp_path / "adaptive-w50.onnx").is_file()


def test_the_result_must_be_called_a_bundle(tmp_path: Path) -> None:
    words = ["slim", "resnet8", "-o", str(tmp_path / "x.onnx")]
    result = CliRunner().invoke(edgekiln, words)
    assert result.exit_code == 2
    assert "x.ekb" in result.output

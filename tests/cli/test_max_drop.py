"""A limit on what may be lost, from the command line to the program and its price."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Cli
from tests.compiler import skewed


@pytest.mark.slow
def test_a_build_meets_its_limit_and_tells_the_price(cli: Cli, tmp_path: Path) -> None:
    """One channel in front of a hard-swish is 300 times as large: no factor goes through that."""
    model = skewed.fitted()
    found = {name: array.copy() for name, array in skewed.arrays(model).items()}
    for name, factor in (("widen", 300.0), ("widen_b", 300.0), ("small", 1 / 300.0)):
        found[name][0] = found[name][0] * np.float32(factor)
    skewed.put(model, found)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    told = cli("build", "net.onnx", "--data", "digits", "--max-drop", 1, "--json",
               "--bench-seconds", 0.01)  # fmt: skip
    document = json.loads(told.stdout)
    (ladder,) = [step["ladder"] for step in document["steps"] if step["stage"] == "quantize"]
    assert ladder["met"]
    assert ladder["rungs"][0]["lost"]["accuracy"] > 10
    assert ladder["rungs"][-1]["lost"]["accuracy"] <= 1
    assert ladder["sensitivity"]
    assert ladder["chosen"] == "layers in float"
    (target,) = document["targets"]
    assert target["price"]["bytes"] > target["price"]["plain_bytes"]
    assert target["price"]["float_layers"] == ladder["rungs"][-1]["float_layers"]

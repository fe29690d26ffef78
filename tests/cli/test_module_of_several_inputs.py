"""A PyTorch module of two inputs and two outputs becomes a program, without a label anywhere."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekiln.runtime.program import load
from tests.cli.conftest import Cli

MODULE = """
from torch import nn
import numpy as np
import torch

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(30, 16)
        self.mix = nn.Linear(16, 16)
        self.features = nn.Linear(6, 16)
        self.score, self.where = nn.Linear(16, 4), nn.Linear(16, 2)

    def forward(self, tokens, flat, bias=None):
        h = torch.relu(self.mix(self.words(tokens)).mean(1) + self.features(flat))
        return {"score": self.score(h), "where": self.where(h)}

def net():
    torch.manual_seed(3)
    return Net()

def samples():
    rng = np.random.default_rng(0)
    for _ in range(400):
        yield {"tokens": rng.integers(0, 30, 8), "flat": rng.normal(size=6).astype(np.float32)}

def lacking():
    return [{"tokens": np.zeros(8, np.int64)} for _ in range(9)]
"""
BUILD = ("build", "twoends:net", "--skip", "distill", "--skip", "prune", "--bench-seconds", 0)


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A user's own module, where the tool is started."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "twoends.py").write_text(MODULE)
    yield
    sys.modules.pop("twoends", None)


@pytest.mark.usefixtures("beside")
def test_a_module_of_two_inputs_and_outputs_is_built_on_samples_alone(
    cli: Cli, tmp_path: Path
) -> None:
    built = cli(*BUILD, "--calibrate", "twoends:samples", "--json")
    assert built.exit_code == 0, built.stderr
    steps = {step["stage"]: step for step in json.loads(built.stdout)["steps"]}
    assert list(steps) == ["export", "quantize", "compile"]
    assert steps["export"]["score"] is None
    assert steps["compile"]["score"]["value"] > 25
    assert steps["export"]["metrics"]["max_abs_difference"] < 1e-4
    program = load(tmp_path / "dist/net-host.ekb")
    assert [each.name for each in program.inputs] == ["tokens", "flat"]
    assert [each.name for each in program.outputs] == ["score", "where"]
    given: dict[str, np.ndarray] = {
        "tokens": np.arange(8)[None],
        "flat": np.ones((1, 6), np.float32),
    }
    from twoends import net  # type: ignore[import-not-found]

    with torch.no_grad():
        exact = net().eval()(*map(torch.from_numpy, given.values()))
    found = program(given["tokens"], flat=given["flat"])
    assert all(
        np.abs(ours - theirs.numpy()).max() < 0.1 * theirs.abs().max()
        for ours, theirs in zip(found, exact.values(), strict=True)
    )


@pytest.mark.usefixtures("beside")
def test_what_is_missing_is_said(cli: Cli) -> None:
    lacking = cli(*BUILD, "--calibrate", "twoends:lacking")
    assert lacking.exit_code == 3
    assert "twoends:net: takes tokens, flat; the samples have tokens" in lacking.stderr
    training = cli("build", "twoends:net", "--calibrate", "twoends:samples", "--bench-seconds", 0)
    assert training.exit_code == 3
    assert "its samples have no labels, which training and accuracy need" in training.stderr
    assert "--skip distill --skip prune" in training.stderr

"""What forward() calls its inputs."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekiln.compiler.onnx_model import io, model_inputs
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.export import ExportStage
from edgekiln.models.artifact import create, load_module
from edgekiln.models.data import load
from tests.compiler import artifacts

ANY_NUMBER = """
from torch import nn

class AnyNumber(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 10)

    def forward(self, *inputs):
        return self.head(self.conv(inputs[0]).mean((2, 3)))
"""
ALLOWED = frozenset({"any_number:AnyNumber"})


def test_a_forward_of_any_number_of_inputs_keeps_its_batch_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "any_number.py").write_text(ANY_NUMBER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "any_number", raising=False)
    src, out = tmp_path / "m.pt", tmp_path / "m.onnx"
    create(src, "any_number:AnyNumber", load("digits", 0), "digits", seed=0)
    context = StageContext(scratch=tmp_path, allow=ALLOWED)
    ExportStage().run(artifacts.of(src), out, context)
    model = io.load_model(out)
    assert (model_inputs.of_model(model).batch, context.notes) == (None, [])
    images = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    net = load_module(src, ALLOWED)[0].eval()
    with torch.no_grad():
        expected = net(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(Session(model, optimize=True)(images)[0], expected, atol=1e-5)

"""Each family of tasks goes from training to an int8 model that is as good as the module."""

import sys

import pytest

from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.distill import DistillStage
from edgekiln.compiler.stages.evaluate import EvaluateStage
from edgekiln.compiler.stages.export import ExportStage
from edgekiln.compiler.stages.initialize import InitializeStage
from edgekiln.compiler.stages.quantize import QuantizeStage
from tests.compiler import artifacts

MODULE = """
import numpy as np
import torch
from torch import nn

COUNT = 240


def blobs(kind, many=False):
    # Pictures with a bright square, red or blue, somewhere; its mask and box.
    draw = np.random.default_rng(0)
    for number in range(COUNT):
        pixels = draw.integers(0, 60, (16, 16, 3)).astype(np.uint8)
        color, top, left = number % 2, *draw.integers(0, 3, 2) * 4 + 2
        pixels[top : top + 4, left : left + 4, 2 * color] = 250
        mask = np.zeros((16, 16), np.uint8)
        mask[top : top + 4, left : left + 4] = 1 + color
        box = np.array([[color, (left + 2) / 16, (top + 2) / 16, 0.25, 0.25]], np.float32)
        labels = np.array([color == 0, color == 1, left > 5], np.uint8)
        yield pixels, {"mask": mask, "box": box, "labels": labels, "kind": color}[kind]


def net_labels(classes=3):
    return nn.Sequential(*body(), nn.Flatten(), nn.Linear(16 * 16, classes))


def body():
    return (
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.ReLU(),
    )


def net_mask(classes=3):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, classes, 3, padding=1)
    )


class Boxes(nn.Module):
    # A box for each of 4 × 4 places of a grid, its center in or beside its place.
    def __init__(self, classes):
        super().__init__()
        place = torch.arange(16)
        grid = torch.stack([place % 4 / 4 - 0.125, place // 4 / 4 - 0.125], dim=1)
        self.register_buffer("corner", torch.cat([grid, torch.zeros(16, 2)], dim=1))
        self.register_buffer("size", torch.tensor([0.5, 0.5, 1, 1]))
        self.body = nn.Sequential(*body(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        self.where, self.what = nn.Conv2d(16, 4, 1), nn.Conv2d(16, classes, 1)

    def forward(self, x):
        found = self.body(x)
        where = self.where(found).sigmoid().flatten(2).transpose(1, 2)
        where = where * self.size + self.corner
        return torch.cat([where, self.what(found).flatten(2).transpose(1, 2)], dim=2)


def net_box(classes=2):
    return Boxes(classes)


def net_kind():
    return nn.Sequential(*body(), nn.Flatten(), nn.Linear(16 * 16, 8))


def texts(target):
    # Words of a language whose next word is one more, but for a surprise now and then.
    draw = np.random.default_rng(1)
    for _ in range(COUNT):
        steps = np.where(draw.random(9) < 0.9, 1, 3)
        words = (draw.integers(0, 8) + np.cumsum(steps)) % 8
        yield words[:-1], (words[1:] if target == "next" else words[:-1] % 3)


class Words(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.table, self.out = nn.Embedding(8, 16), nn.Linear(16, classes)

    def forward(self, words):
        return self.out(torch.relu(self.table(words)))


def net_words(classes=8):
    return Words(classes)


def waves(broken=0.3):
    # Smooth vectors; of the test part some are noise.
    draw = np.random.default_rng(2)
    def rows(count, share):
        for number in range(count):
            smooth = np.sin(np.arange(16) / 3 + draw.random() * 6)
            odd = draw.random() < share
            yield (draw.normal(size=16) if odd else smooth).astype(np.float32), int(odd)
    return {"train": list(rows(COUNT, 0)), "test": list(rows(80, broken))}


def net_waves(features=16):
    return nn.Sequential(nn.Linear(features, 4), nn.ReLU(), nn.Linear(4, features))
"""

# The network, the data and its task, epochs, the metric, and what it is at least, or at most.
CASES = {
    "multi-label": ("labels", "blobs?kind=labels", 6, "f1", 0.8, None),
    "segmentation": ("mask", "blobs?kind=mask", 6, "miou", 0.6, None),
    "detection?overlap=0.5": ("box", "blobs?kind=box", 12, "map@0.5", 0.5, None),
    "embedding": ("kind", "blobs?kind=kind", 4, "recall@1", 0.9, None),
    "sequence-labelling": ("words", "texts?target=kind", 12, "token_accuracy", 0.9, None),
    "language-modelling": ("words", "texts?target=next", 12, "perplexity", None, 2.5),
    "reconstruction": ("waves", "waves", 20, "auc", 0.9, None),
}


@pytest.fixture(autouse=True, scope="module")
def _beside(tmp_path_factory):
    home = tmp_path_factory.mktemp("families")
    (home / "task_families.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(home)
        yield
    sys.modules.pop("task_families", None)


@pytest.mark.parametrize("task", CASES)
def test_a_family_goes_from_training_to_int8(task, tmp_path):
    net, samples, epochs, metric, least, most = CASES[task]
    joint = "&" if "?" in samples else "?"
    data = f"task_families:{samples}{joint}task={task}"
    model = f"task_families:net_{net}"
    ctx = StageContext(scratch=tmp_path / "scratch", allow=frozenset({model}))
    InitializeStage(model=model, data=data).run(None, tmp_path / "m.pt", ctx)
    stage = DistillStage(data=data, epochs=epochs, learning_rate=0.01, batch_size=16, shift=1)
    stage.run(artifacts.of(tmp_path / "m.pt"), tmp_path / "t.pt", ctx)
    ExportStage(data=data).run(artifacts.of(tmp_path / "t.pt"), tmp_path / "f.onnx", ctx)
    QuantizeStage(data=data).run(artifacts.of(tmp_path / "f.onnx"), tmp_path / "q.onnx", ctx)
    values = [
        EvaluateStage(data=data).run(artifacts.of(tmp_path / name), tmp_path / "r.json", ctx)
        for name in ("t.pt", "f.onnx", "q.onnx")
    ]
    module, exported, quantized = (each[metric] for each in values)
    assert exported == pytest.approx(module, rel=1e-3)
    assert quantized == pytest.approx(module, abs=0.06)
    assert least is None or module >= least
    assert most is None or module <= most

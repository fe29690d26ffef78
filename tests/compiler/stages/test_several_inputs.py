"""Modules of several inputs are trained, taught, pruned and judged as those of one are."""

import sys

import pytest

from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.distill import DistillStage
from edgekiln.compiler.stages.evaluate import EvaluateStage
from edgekiln.compiler.stages.export import ExportStage
from edgekiln.compiler.stages.initialize import InitializeStage
from edgekiln.compiler.stages.prune import PruneStage
from edgekiln.compiler.stages.quantize import QuantizeStage
from edgekiln.models.artifact import load_module, read_meta
from edgekiln.runtime.errors import ConfigError, InputError
from tests.compiler import artifacts

MODULE = """
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Likes(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.users, self.items = nn.Embedding(20, 8), nn.Embedding(12, 8)
        self.mix = nn.Linear(16, width)
        self.out = nn.Linear(width, 1)

    def forward(self, user, item):
        both = torch.cat([self.users(user), self.items(item)], dim=1)
        return self.out(torch.relu(self.mix(both)))


def likes(width=16):
    return Likes(width)


def ratings(count=900, taste=0.9):
    # Items are of three kinds, and everybody likes one of them.
    draw = np.random.default_rng(0)
    for _ in range(count):
        user, item = draw.integers(0, 20), draw.integers(0, 12)
        liked = (user % 3 == item % 3) == (draw.random() < taste)
        yield {"item": item, "user": user}, int(liked)


def pairs(count=500):
    for sample, liked in ratings(count):
        yield (sample["user"], sample["item"]), liked


def own_step(model, batch, margin=0.1):
    told = model(*batch.arguments)[:, 0]
    return F.binary_cross_entropy_with_logits(told, batch.y.float() * (1 - margin) + margin / 2)


def detached(model, batch):
    return model(*batch.arguments).detach().mean()


def vector(model, batch):
    return model(*batch.arguments)


def failing(model, batch):
    raise ValueError("no")


def swap_one(batch, draw):
    from dataclasses import replace
    chosen = torch.rand(len(batch), generator=draw) < 0.05
    return replace(batch, targets={"": torch.where(chosen, 1 - batch.y, batch.y)})


def not_a_batch(batch, draw):
    return batch.inputs
"""
DATA = "several_likes:ratings?task=recommendation?user=user"
OPTIONS = {"data": DATA, "batch_size": 32, "learning_rate": 0.02}


@pytest.fixture(autouse=True, scope="module")
def _beside(tmp_path_factory):
    home = tmp_path_factory.mktemp("likes")
    (home / "several_likes.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(home)
        yield
    sys.modules.pop("several_likes", None)


def context(tmp_path):
    return StageContext(scratch=tmp_path / "scratch", allow=frozenset({"several_likes:likes"}))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    path = tmp_path_factory.mktemp("fresh") / "m.pt"
    InitializeStage(model="several_likes:likes", data=DATA).run(None, path, context(path.parent))
    return path


@pytest.fixture(scope="module")
def trained(fresh, tmp_path_factory):
    home = tmp_path_factory.mktemp("trained")
    stage = DistillStage(**OPTIONS, epochs=20, teacher=("several_likes:likes?width=24",), alpha=0.1)
    metrics = stage.run(artifacts.of(fresh), home / "m.pt", context(home))
    assert metrics["val_auc"] > 0.75
    return home / "m.pt"


def measured(path, tmp_path):
    return EvaluateStage(data=DATA).run(artifacts.of(path), tmp_path / "r.json", context(tmp_path))


def test_inputs_stand_in_the_order_of_forward_whatever_the_samples_have(fresh):
    assert [(i.name, i.dtype, i.shape) for i in read_meta(fresh).inputs] == [
        ("user", "int64", ()),
        ("item", "int64", ()),
    ]


def test_a_module_of_two_inputs_learns_is_cut_exported_and_quantized(trained, tmp_path):
    before = measured(trained, tmp_path)
    assert before.keys() == {"auc", "hr@10", "n"}
    ctx = context(tmp_path)
    cut = PruneStage(**OPTIONS, recovery_epochs=2, channel_multiple=1).run(
        artifacts.of(trained), tmp_path / "p.pt", ctx
    )
    assert cut["macs_after"] <= 0.5 * cut["macs_before"]
    module, _ = load_module(tmp_path / "p.pt", {"several_likes:likes"})
    assert module.mix.out_features == 8
    ExportStage(data=DATA).run(artifacts.of(tmp_path / "p.pt"), tmp_path / "m.onnx", ctx)
    QuantizeStage(data=DATA).run(artifacts.of(tmp_path / "m.onnx"), tmp_path / "q.onnx", ctx)
    after = measured(tmp_path / "q.onnx", tmp_path)
    assert after["auc"] == pytest.approx(before["auc"], abs=0.05)
    assert after["auc"] > 0.75


def test_inputs_in_a_tuple_are_forwards_arguments_in_turn(tmp_path):
    data = "several_likes:pairs?count=200&task=recommendation"
    InitializeStage(model="several_likes:likes", data=data).run(
        None, tmp_path / "m.pt", context(tmp_path)
    )
    assert [each.name for each in read_meta(tmp_path / "m.pt").inputs] == ["user", "item"]
    DistillStage(data=data, epochs=1).run(
        artifacts.of(tmp_path / "m.pt"), tmp_path / "t.pt", context(tmp_path)
    )
    ctx = context(tmp_path)
    ExportStage(data=data).run(artifacts.of(tmp_path / "t.pt"), tmp_path / "m.onnx", ctx)
    found = EvaluateStage(data=data).run(
        artifacts.of(tmp_path / "m.onnx"), tmp_path / "r.json", ctx
    )
    assert 0 <= found["auc"] <= 1


def test_a_step_and_changes_of_ones_own_are_part_of_training(fresh, tmp_path):
    stage = DistillStage(
        **OPTIONS,
        epochs=20,
        training_step="several_likes:own_step?margin=0.05",
        augment="several_likes:swap_one",
    )
    metrics = stage.run(artifacts.of(fresh), tmp_path / "m.pt", context(tmp_path))
    assert metrics["val_auc"] > 0.7
    used = stage.uses(artifacts.of(fresh), None)
    assert used["training_step"]
    assert used["augment"]


@pytest.mark.parametrize(
    ("option", "message", "hint"),
    [
        (
            {"training_step": "several_likes:detached"},
            "several_likes:detached: gave a tensor of shape () that no weight leads to, expected a loss",  # noqa: E501
            "return a scalar tensor",
        ),
        (
            {"training_step": "several_likes:vector"},
            "several_likes:vector: gave a tensor of shape (32, 1), expected a loss",
            "return a scalar tensor",
        ),
        (
            {"training_step": "several_likes:failing"},
            "several_likes:failing: raised ValueError: no",
            "it gets batches of the shapes",
        ),
        (
            {"augment": "several_likes:not_a_batch"},
            "several_likes:not_a_batch: gave dict for a batch",
            "return the batch, changed",
        ),
    ],
)
def test_a_step_that_gives_no_loss_is_named(fresh, tmp_path, option, message, hint):
    stage = DistillStage(**OPTIONS, epochs=1, **option)
    with pytest.raises(InputError) as caught:
        stage.run(artifacts.of(fresh), tmp_path / "m.pt", context(tmp_path))
    assert caught.value.message == message
    assert caught.value.hint.startswith(hint)
    assert not (tmp_path / "m.pt").exists()


def test_a_function_that_is_not_there_is_asked_for(fresh, tmp_path):
    with pytest.raises(ConfigError, match="no function is named"):
        DistillStage(**OPTIONS, training_step="own_step").run(
            artifacts.of(fresh), tmp_path / "m.pt", context(tmp_path)
        )
    with pytest.raises(ConfigError, match="a teacher and a training-step"):
        DistillStage(teacher=("resnet8",), training_step="several_likes:own_step")


def test_a_strangers_module_has_no_function_called(trained, tmp_path):
    """Its data is a function, which the user has not named."""
    with pytest.raises(ConfigError) as caught:
        DistillStage(epochs=1).run(artifacts.of(trained), tmp_path / "m.pt", context(tmp_path))
    assert f"--data '{DATA}'" in caught.value.hint

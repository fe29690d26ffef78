"""Forms of one network that share weights, trained together."""

import copy

import pytest
import torch
from torch import nn

from edgekiln.compiler.build.adaptive import build_adaptive
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.documents.progress import progress
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.pruning.shrink import survey
from edgekiln.compiler.stages.slim import SlimStage
from edgekiln.compiler.stages.slimmable import Slimmable, behind, narrow_form, settle_statistics
from edgekiln.runtime.errors import ConfigError, UnsupportedError
from edgekiln.targets import profile


def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


SAMPLES = (torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1)),)


def squares(outputs, taught):
    return sum((outputs[name] - taught[name]).square().mean() for name in outputs)


@pytest.fixture
def slimmable() -> Slimmable:
    widest = net()
    groups = survey(widest, SAMPLES).proven
    forms = [narrow_form(widest, SAMPLES, groups, share, 8) for share in (0.75, 0.5)]
    return Slimmable(widest, forms, squares)


def test_a_narrow_form_has_the_first_channels_of_the_widest(slimmable):
    half = slimmable.narrower[-1].alone(slimmable.widest)
    widest = slimmable.widest
    assert torch.equal(half[0].weight, widest[0].weight[:8])
    assert torch.equal(half[4].weight, widest[4].weight[:16, :8])
    assert torch.equal(half[9].weight, widest[9].weight[:, :16])
    assert torch.equal(half[9].bias, widest[9].bias)
    assert half(SAMPLES[0]).shape == (4, 10)


def test_a_form_alone_computes_what_it_did_inside(slimmable):
    form = slimmable.narrower[0].eval()
    alone = form.alone(slimmable.widest).eval()
    inside = form(dict(slimmable.widest.named_parameters()), *SAMPLES)
    torch.testing.assert_close(alone(*SAMPLES), inside)


def test_training_moves_shared_weights_by_what_every_form_loses(slimmable):
    slimmable.train()
    slimmable(*SAMPLES)
    loss = slimmable.penalty()
    loss.backward()
    gradient = slimmable.widest[4].weight.grad
    assert gradient is not None
    assert gradient[:16, :8].abs().sum() > 0
    # No form but the widest has these, and its outputs are what the others are taught.
    assert gradient[24:].abs().sum() == 0
    own = slimmable.narrower[-1].network[1].bias
    assert own.requires_grad
    assert own.grad is not None
    assert not slimmable.narrower[-1].network[4].weight.requires_grad


def test_a_penalty_is_taken_once_and_the_network_can_be_copied(slimmable):
    slimmable.train()
    slimmable(*SAMPLES)
    assert slimmable.penalty() > 0
    assert slimmable.penalty() == 0
    assert isinstance(copy.deepcopy(slimmable), Slimmable)


def test_evaluation_runs_the_widest_form_alone(slimmable):
    slimmable.eval()
    assert torch.equal(slimmable(*SAMPLES), slimmable.widest(*SAMPLES))
    assert slimmable.penalty() == 0


def test_groups_lose_their_last_channels_in_multiples():
    group = max(survey(net(), SAMPLES).proven, key=lambda each: each.width)
    assert group.width == 32
    assert behind(group, 0.5, 8) == list(range(16, 32))
    assert behind(group, 0.3, 8) == list(range(8, 32))
    assert behind(group, 0.01, 8) == list(range(8, 32))
    assert behind(group, 0.5, 64) == []


def test_statistics_are_the_mean_of_what_is_seen():
    module = nn.Sequential(nn.BatchNorm1d(2))
    batches = [(torch.full((4, 2), float(value)),) for value in (1, 3)]
    settle_statistics(module, batches)
    assert module[0].running_mean.tolist() == [2, 2]
    assert not module.training
    assert module[0].momentum == 0.1


def test_shares_fall_evenly_to_the_least():
    assert SlimStage(points=4).shares == (1, 0.75, 0.5, 0.25)
    assert SlimStage(points=2, least=0.5).shares == (1, 0.5)
    assert SlimStage(points=3, least=0.25).names == ("full", "w62", "w25")


def test_a_gpu_has_no_points_and_that_is_said_before_anything_is_trained(tmp_path):
    target = profile.load("opencl-generic")
    recipe = Recipe(data="digits")
    with pytest.raises(UnsupportedError, match="opencl-generic: programs for GPUs have one"):
        build_adaptive(
            "resnet8", SlimStage(data="digits"), target, tmp_path / "x.ekb",
            Store(tmp_path / "store"), progress, recipe,
        )  # fmt: skip
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 1}, "slim: points = 1"),
        ({"points": 4, "least": 0.99}, "slim: points = 4"),
        ({"points": 10**12}, "slim: points = 1000000000000"),
        ({"least": 1.0}, "slim: least = 1.0"),
        ({"least": 0.0}, "slim: least = 0.0"),
        ({"channel_multiple": 0}, "slim: channel-multiple = 0"),
    ],
)
def test_wrong_options_are_refused_by_name(options, message):
    with pytest.raises(ConfigError, match=message):
        SlimStage(**options)

"""Forms of one network that share weights, trained together."""

import copy

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from edgekiln.compiler.build.adaptive import build_adaptive
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.cli.group import edgekiln
from edgekiln.compiler.documents.progress import progress
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.pruning.shrink import survey
from edgekiln.compiler.stages.slim import SlimStage
from edgekiln.compiler.stages.slimmable import (
    Slimmable,
    behind,
    left_out,
    narrow_form,
    settle_statistics,
)
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


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.b = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.b(torch.relu(self.norm(self.a(x)))))


def deep() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), Block(16), Block(16), nn.Conv2d(16, 32, 3),
        nn.ReLU(), Block(32), Block(32), Block(32), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(32, 10),
    ).eval()  # fmt: skip


def test_a_shallow_form_is_the_widest_without_some_blocks():
    widest = deep()
    form = narrow_form(widest, SAMPLES, (), 1.0, 8, ["3", "7", "8"])
    alone = form.alone(widest).eval()
    left = [widest[number] for number in range(len(widest)) if number not in (3, 7, 8)]
    # Batch norm's statistics are its own, and as they were when it was made.
    torch.testing.assert_close(alone(*SAMPLES), nn.Sequential(*left)(*SAMPLES))
    assert not any(name.startswith(("3.", "7.", "8.")) for name, _ in alone.named_parameters())
    assert torch.equal(alone[2].a.weight, widest[2].a.weight)


def test_of_each_run_of_blocks_some_are_left():
    blocks, network = ("2", "3", "6", "7", "8"), deep()
    assert left_out(network, blocks, 1.0) == []
    assert left_out(network, blocks, 0.8) == ["8"]
    assert left_out(network, blocks, 0.4) == ["8", "7", "3"]


def test_a_module_without_residual_blocks_has_no_shallower_form(tmp_path):
    path = tmp_path / "net.pt"
    result = CliRunner().invoke(
        edgekiln,
        ["slim", "tests.compiler.slim_net:small", "--data", "digits?limit=100", "--by", "depth",
         "-o", str(tmp_path / "x.ekb")],
        env={"EDGEKILN_STORE": str(tmp_path / "store")},
    )  # fmt: skip
    assert result.exit_code == 4, result.output
    said = "tests.compiler.slim_net:small: no residual block can be left out"
    assert said in " ".join(result.output.split())
    assert "--by width" in result.output
    assert not path.exists()


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
    assert SlimStage(points=3, by="depth").names == ("full", "d62", "d25")
    assert SlimStage(points=2, least=0.5, by="both").names == ("full", "s50")


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

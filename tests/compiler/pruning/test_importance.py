"""Measures of importance whose values are known, and the penalty that prepares a network."""

import pytest
import torch
from torch import nn

from edgekiln.compiler.pruning.graph import ChannelGraph
from edgekiln.compiler.pruning.importance import channel_importance, weight_scores
from edgekiln.compiler.pruning.shrink import survey
from edgekiln.compiler.pruning.sparsity import group_penalty, scale_penalty
from tests.compiler.pruning import networks
from tests.compiler.pruning.networks import EXAMPLE


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_the_hessian_score_is_what_the_loss_grows_by_at_its_minimum():
    net = nn.Linear(6, 1, bias=False)
    x = torch.randn(500, 6) * torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 0.1])
    target = net(x).detach()  # the weights are the optimum

    def loss(module: nn.Module) -> torch.Tensor:
        return (module(x) - target).square().mean()

    scores = weight_scores(net, "hessian", [loss] * 400)["weight"][0]
    grown = []
    for place in range(6):
        trial = nn.Linear(6, 1, bias=False)
        with torch.no_grad():
            trial.weight.copy_(net.weight)
            trial.weight[0, place] = 0.0
            grown.append(float(loss(trial)))
    # Exact but for the sampled signs, whose error falls with the number of samples.
    assert scores.tolist() == pytest.approx(grown, rel=0.25, abs=0.02)


def test_batch_norm_scales_rank_channels_and_groups_without_any_are_kept():
    module = nn.Sequential(
        networks.conv(3, 16), nn.Flatten(), nn.Linear(1024, 32), nn.ReLU(), nn.Linear(32, 10)
    )
    with torch.no_grad():
        module[0][1].weight.copy_(torch.arange(16) - 8.0)
    groups = survey(module, EXAMPLE).proven
    scores = weight_scores(module, "batch-norm-scale", [])
    importance = channel_importance(module, EXAMPLE, groups, scores)
    assert set(importance) == {"0.0"}
    assert importance["0.0"].tolist() == [abs(c - 8.0) for c in range(16)]


@pytest.mark.parametrize("penalty", [scale_penalty, group_penalty])
def test_a_penalty_empties_the_channels_that_the_loss_does_not_need(penalty):
    module = nn.Sequential(networks.conv(3, 8), nn.Conv2d(8, 4, 1))
    with torch.no_grad():  # half of the channels are read by nobody
        module[1].weight[:, ::2] = 0.0
    groups = [g for g in ChannelGraph(module, EXAMPLE).groups() if g.root == "0.0"]
    wanted = module.train()(EXAMPLE).detach()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        error = (module(EXAMPLE) - wanted).square().mean()
        (10 * error + 0.01 * penalty(module, groups)).backward()
        optimizer.step()
    scales = module[0][1].weight.detach().abs()
    assert scales[::2].max() < 0.05
    assert scales[1::2].min() > 0.25


def test_the_group_penalty_counts_each_channel_wherever_it_runs():
    module = networks.residual()
    groups = survey(module, EXAMPLE).proven
    before = group_penalty(module, groups).item()
    assert before > 0
    names = {item.name for item in groups[0].items if item.side != "in"}
    with torch.no_grad():
        for name in names:
            for parameter in module.get_submodule(name).parameters():
                parameter.zero_()
    assert len(names) > 2
    assert group_penalty(module, groups).item() < before / 2

"""How large a step is and where it goes: schedules, Muon, the order of memory."""

import os
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from edgekiln.compiler.training import optimizer
from edgekiln.compiler.training.memory import set_channels_last, takes_channels_last
from edgekiln.compiler.training.optimizer import hidden_matrices
from edgekiln.compiler.training.schedule import Plateau, ScheduleName, learning_rate


@pytest.mark.parametrize("schedule", get_args(ScheduleName))
def test_every_schedule_rises_to_its_peak_and_never_above(schedule):
    rates = [
        learning_rate(step, peak=0.5, total=100, warmup=20, schedule=schedule)
        for step in range(101)
    ]
    assert max(rates) == pytest.approx(0.5)
    assert rates[20] == pytest.approx(0.5)
    assert rates[0] < 0.05
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[100] == pytest.approx(0.5 if schedule in ("constant", "plateau") else 0, abs=1e-5)


def test_a_linear_fall_is_half_way_down_in_the_middle():
    halfway = learning_rate(60, peak=1.0, total=100, warmup=20, schedule="linear")
    assert halfway == pytest.approx(0.5)


def test_one_cycle_is_torchs():
    weight = nn.Parameter(torch.zeros(1))
    torchs = torch.optim.SGD([weight], lr=0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(torchs, 0.3, total_steps=101, pct_start=0.2)
    for step in range(101):
        ours = learning_rate(step, peak=0.3, total=101, warmup=20, schedule="one-cycle")
        # Theirs counts both ends of either half, so that it is up to a step ahead.
        assert ours == pytest.approx(theirs.get_last_lr()[0], abs=0.3 * 0.08)
        torchs.step()
        if step < 100:
            theirs.step()


def test_a_plateau_lets_the_rate_fall_once_for_each_wait():
    plateau = Plateau()
    factors = []
    for epoch in range(1, 15):
        plateau.after(epoch, improved=2)
        factors.append(plateau.factor)
    assert factors[:5] == [1.0] * 5
    assert factors[5:9] == pytest.approx([0.2] * 4)
    assert factors[9:13] == pytest.approx([0.04] * 4)
    assert Plateau.restored(plateau.state_dict()) == plateau


def test_muon_steps_hidden_matrices_and_leaves_the_rest_to_adamw():
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 16, 1),
        nn.Linear(16, 4),
    )
    assert [tuple(p.shape) for p in hidden_matrices(module)] == [(8, 3, 3, 3), (16, 8, 1, 1)]
    made = optimizer.make("muon", module, learning_rate=0.1, weight_decay=0.01)
    assert [type(part).__name__ for part in made.parts] == ["Muon", "AdamW"]
    stepped = [p for part in made.parts for group in part.param_groups for p in group["params"]]
    assert len(stepped) == len(list(module.parameters())), "each weight by one of them"


@pytest.mark.parametrize("last", [False, True])
def test_a_step_of_muon_has_orthogonal_rows_of_the_size_of_adamws(last):
    layer = nn.Conv2d(8, 16, 3, bias=False)
    module = nn.Sequential(layer, nn.Linear(1, 1))
    set_channels_last(module, to=last)
    made = optimizer.make("muon", module, learning_rate=0.1, weight_decay=0.0)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    made.step()
    step = (layer.weight.detach() - before).reshape(16, -1)
    assert float(step.square().mean().sqrt()) == pytest.approx(0.1 * 0.2, rel=0.2)
    singular = torch.linalg.svdvals(step)
    assert singular.max() < 2 * singular.min(), "Newton and Schulz are near 1, not at it"
    made.zero_grad()
    assert layer.weight.grad is None


@pytest.mark.parametrize(
    ("forward", "fits"),
    [
        (lambda x: x.flatten(1), True),
        (lambda x: x.view(len(x), -1), False),
        (lambda x: x.mean(dim=(2, 3)), True),
    ],
    ids=["flatten", "view", "mean"],
)
def test_a_network_that_views_its_images_otherwise_keeps_their_order(
    forward: Callable[[Tensor], Tensor], fits: bool
):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return forward(self.conv(x))

    net = Net()
    assert takes_channels_last(net, torch.randn(2, 2, 8, 8)) == fits
    assert net.conv.weight.is_contiguous(), "it is tried on a copy"
    assert not takes_channels_last(nn.Linear(3, 3), torch.randn(2, 3))


@pytest.mark.parametrize("channels", [3, 4, 7, 8, 12])
def test_gradients_stay_in_their_memory(channels: int) -> None:
    """In a process of its own: where they do not, it dies of a damaged heap."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        layer = nn.Conv2d(channels, 16, 1, stride=2)
        last = takes_channels_last(layer, torch.randn(2, channels, 16, 16))
        order = torch.channels_last if last else torch.contiguous_format
        set_channels_last(layer, to=last)
        for _ in range(40):
            images = torch.randn(32, channels, 16, 16).contiguous(memory_format=order)
            layer(images.requires_grad_()).sum().backward()
            kept = [torch.randn(elements) for elements in range(50, 400, 7)]
            del kept
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

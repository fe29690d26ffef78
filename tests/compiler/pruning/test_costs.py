"""Budgets of every kind: what is predicted of a cut is what the cut network costs."""

import copy

import pytest
import torch
from torch import Tensor, nn

from edgekiln.compiler.pruning import activations, costs
from edgekiln.compiler.pruning.activations import lives
from edgekiln.compiler.pruning.costs import CostOf, Goal, PrunableNetwork
from edgekiln.compiler.pruning.graph import ChannelGraph
from edgekiln.compiler.pruning.importance import weight_scores
from edgekiln.compiler.pruning.shrink import shrink, survey
from edgekiln.models import cost
from tests.compiler.pruning import networks
from tests.compiler.pruning.networks import EXAMPLE

COSTS: dict[str, CostOf] = {
    "macs": costs.macs,
    "parameters": costs.parameters,
    "bytes": costs.stored_bytes,
    "arena": activations.arena,
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def left(module: nn.Module, cost_of: CostOf) -> float:
    network = PrunableNetwork.of(module, EXAMPLE, ())
    return cost_of(network).left(network.widths)


def cut(module: nn.Module, **shares: float) -> None:
    goals = [
        Goal(cost_of=COSTS[kind], most=share * left(module, COSTS[kind]))
        for kind, share in shares.items()
    ]
    found = survey(module, EXAMPLE)
    scores = weight_scores(module, "magnitude", [])
    shrink(module, EXAMPLE, found.proven, scores, goals=goals, multiple=4)


@pytest.mark.parametrize("kind", COSTS)
@pytest.mark.parametrize("network", networks.SOUND, ids=lambda network: network.__name__)
def test_what_is_predicted_of_a_cut_is_what_the_smaller_network_costs(network, kind):
    module = network()
    groups = survey(module, EXAMPLE).proven
    whole = PrunableNetwork.of(module, EXAMPLE, groups)
    predicted, widths = COSTS[kind](whole), whole.widths
    cuts = [(group, [c for atom in group.atoms[::2] for c in atom]) for group in groups]
    for group, channels in cuts:
        before, change = predicted.left(widths), widths.cut(group, len(channels))
        saved = predicted.saved(widths, change)
        widths.take(change)
        if kind != "arena":  # which is ranked by what is near the peak, too
            assert saved == pytest.approx(before - predicted.left(widths))
    smaller = copy.deepcopy(module)
    graph = ChannelGraph(smaller, EXAMPLE)
    for group, channels in cuts:
        graph.cut(group, channels)
    assert predicted.left(widths) == pytest.approx(left(smaller, COSTS[kind]), rel=1e-6)
    assert predicted.left(widths) < left(module, COSTS[kind])


@pytest.mark.parametrize("kind", COSTS)
def test_a_budget_of_each_kind_is_met(kind):
    module = networks.residual()
    before = left(module, COSTS[kind])
    cut(module, **{kind: 0.62})
    assert 0.4 * before < left(module, COSTS[kind]) <= 0.62 * before


def test_of_several_budgets_every_one_is_met():
    module = networks.depthwise()
    full = {kind: left(module, cost_of) for kind, cost_of in COSTS.items()}
    cut(module, macs=0.8, parameters=0.5, arena=0.6)
    assert left(module, costs.macs) <= 0.8 * full["macs"]
    assert left(module, costs.parameters) <= 0.5 * full["parameters"]
    assert left(module, activations.arena) <= 0.6 * full["arena"]


def test_parameters_are_counted_as_everywhere():
    module = networks.depthwise()
    cut(module, parameters=0.5)
    assert left(module, costs.parameters) == cost.count(module, EXAMPLE[:1]).parameters


def test_a_budget_of_bytes_cuts_where_weights_are_and_one_of_macs_where_they_are_used():
    def bytes_a_mac(kind: str) -> float:
        torch.manual_seed(0)
        wide = nn.Sequential(
            networks.conv(3, 32), networks.conv(32, 16), nn.Flatten(), nn.Linear(1024, 64),
            nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip
        cut(wide, **{kind: 0.7})
        return left(wide, costs.stored_bytes) / left(wide, costs.macs)

    assert bytes_a_mac("bytes") < 0.9 * bytes_a_mac("macs")


class Chain(nn.Module):
    """Sizes that are easily added up: 8 × 8 pixels of 3, 4, 8, 2 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.norm, self.c = nn.BatchNorm2d(8), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.relu(self.norm(self.b(torch.relu(self.a(x))))))


class Skip(nn.Module):
    """A shortcut is alive until it is added."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.c(torch.relu(self.b(self.a(x))))


@pytest.mark.parametrize(
    ("module", "channels"),
    [(Chain(), 4 + 8), (Skip(), 3 + 3 + 3)],
    ids=["a norm and a rectifier take no place", "a shortcut takes one"],
)
def test_the_arena_is_what_lies_in_memory_at_once(module, channels):
    found = lives(module, EXAMPLE)
    assert max(found.alive @ found.sizes) == channels * 64

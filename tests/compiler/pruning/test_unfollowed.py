"""Networks whose channels are hard to follow: cut where proven, elsewhere kept and named."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import weight_norm as old_weight_norm
from torch.nn.utils.parametrizations import weight_norm

from edgekiln.compiler.pruning import bounds, costs
from edgekiln.compiler.pruning.costs import Goal
from edgekiln.compiler.pruning.graph import ChannelGraph
from edgekiln.compiler.pruning.importance import weight_scores
from edgekiln.compiler.pruning.shrink import shrink, survey
from edgekiln.models import cost
from edgekiln.runtime.errors import UnsupportedError
from tests.compiler.pruning.networks import ChannelShuffle, Classifier, conv

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
VECTORS = torch.rand(4, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


class ShuffleUnit(nn.Module):
    """ShuffleNetV2's: half of the channels pass by, then both halves are interleaved."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch, self.shuffle = conv(width // 2, width // 2), ChannelShuffle()

    def forward(self, x: Tensor) -> Tensor:
        one, other = x.chunk(2, 1)
        return self.shuffle(torch.cat([one, self.branch(other)], 1))


class Gated(nn.Module):
    """A gated linear unit, and a gate written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.halved = conv(3, 32), nn.Conv2d(32, 64, 3, padding=1)
        self.gated, self.head = nn.Conv2d(32, 64, 3, padding=1), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        values, gate = self.gated(F.glu(self.halved(self.stem(x)), 1)).chunk(2, 1)
        return self.head((values * torch.tanh(gate)).mean((2, 3)))


class SecondOrder(nn.Module):
    """Bilinear pooling: the channels of two branches are multiplied with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.head = conv(3, 16), conv(3, 16), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        products = self.one(x).flatten(2) @ self.other(x).flatten(2).transpose(1, 2)
        return self.head(products.flatten(1))


class Table(nn.Module):
    """Reads each feature, 0 to 1, as an index: what noise is not."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.hidden = nn.Embedding(16, 8), nn.Linear(192, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.hidden(self.table((x * 15).long()).flatten(1))))


class ClassToken(nn.Module):
    """A transformer's token that stands for the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 32, 2, 2), nn.Parameter(torch.zeros(1, 1, 32))
        self.norm = nn.LayerNorm(32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        x = x + x.mean(1, keepdim=True)
        return self.head((x + self.mlp(self.norm(x)))[:, 0])


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.LSTM | nn.GRU], *, bidirectional: bool) -> None:
        super().__init__()
        self.cell = kind(4, 16, batch_first=True, bidirectional=bidirectional)
        self.hidden = nn.Linear(32 if bidirectional else 16, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cell(x.view(-1, 6, 4))
        return self.head(F.relu(self.hidden(states[:, -1])))


class Half(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 10)).half()

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.half()).float()


def shuffled() -> nn.Module:
    units = nn.Sequential(conv(3, 32), ShuffleUnit(32), ShuffleUnit(32), conv(32, 32), conv(32, 32))
    return Classifier(units, 32)


def normalized() -> nn.Module:
    body = nn.Sequential(weight_norm(nn.Conv2d(3, 32, 3)), nn.ReLU(), conv(32, 32), conv(32, 16))
    return Classifier(body, 16)


class Branching(nn.Module):
    """Bright images go another way than dark ones."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.dark, self.bright = conv(3, 16), conv(16, 16), conv(16, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        way = self.dark if x.mean() < 50 else self.bright
        return self.head(way(self.stem(x)).mean((2, 3)))


class Rescaled(nn.Module):
    """A convolution whose weight is an attribute that each forward computes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last, self.head = conv(3, 16), conv(16, 32), nn.Linear(32, 10)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch would rather have the other one
            self.scaled = old_weight_norm(nn.Conv2d(16, 16, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(torch.relu(self.scaled(self.stem(x)))).mean((2, 3)))


def pruned(module: nn.Module, samples: Tensor) -> tuple[str, ...]:
    """Cut to half of the MACs, as far as that goes; returns what was kept and why."""
    found = survey(module, samples)
    losses = [lambda net: net(samples).square().mean()] * 2
    scores = weight_scores(module, "taylor", losses)
    half = [Goal(cost_of=costs.macs, most=cost.count(module, samples[:1]).macs // 2)]
    unranked = shrink(
        module,
        samples,
        found.proven,
        scores,
        goals=half,
        multiple=4,
    )
    return (*found.kept, *unranked)


@pytest.mark.parametrize(
    ("make", "cut", "kept"),
    [
        (shuffled, "body.3.0", "layer body.0.0 kept: its channels cannot be followed: "),
        (Gated, "stem.0", "layer halved kept: its channels cannot be followed: "),
        (normalized, "body.2.0", "group body.0 kept: cutting breaks the network: "),
        (Rescaled, "last.0", "group scaled kept: cutting breaks the network: "),
        (Branching, "dark.0", "layer bright.0 kept: it does not run on these samples, "),
        (ClassToken, "mlp.0", "group mlp.2 kept: cutting differs from zeroing by "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_can_be_followed_is_cut_and_the_rest_is_named(make, cut, kept):
    module = make()
    width = len(module.get_submodule(cut).weight)
    notes = pruned(module, IMAGES)
    assert any(note.startswith(kept) for note in notes), notes
    assert len(module.get_submodule(cut).weight) < width
    assert module(IMAGES).shape == (4, 10)


def test_both_halves_of_a_split_tensor_are_cut_alike():
    module = Gated()
    groups = {group.root: group for group in ChannelGraph(module, IMAGES).groups()}
    assert groups["gated"].atoms == tuple((c, c + 32) for c in range(32))
    pruned(module, IMAGES)
    assert module.gated.out_channels == 2 * module.head.in_features


def test_a_product_of_two_branches_comes_to_an_end_in_little_memory(monkeypatch):
    monkeypatch.setattr(bounds, "MOST_INDICES", 20_000)
    notes = pruned(SecondOrder(), IMAGES)
    endless = "kept: its channels cannot be followed: they spread over more than 20,000 indices"
    assert sorted(notes) == [f"layer one.0 {endless}", f"layer other.0 {endless}"]


def test_a_network_that_reads_its_samples_as_indices_is_proven_on_them():
    module = Table()
    notes = pruned(module, VECTORS)
    assert module.hidden.out_features < 32
    assert notes == ("layer table kept: Embedding is neither a convolution nor a linear layer",)


def test_layers_behind_a_recurrent_one_are_cut():
    module = Recurrent(nn.GRU, bidirectional=False)
    notes = pruned(module, VECTORS)
    assert module.hidden.out_features < 32
    assert notes == ("layer cell kept: GRU is neither a convolution nor a linear layer",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Recurrent(nn.LSTM, bidirectional=True),
            "the channels of Recurrent cannot be followed through cell (LSTM)",
        ),
        (Half, "Half does not run in float64, in which cuts are proven: "),
    ],
    ids=["LSTM", "Half"],
)
def test_a_network_in_which_nothing_can_be_proven_is_refused(
    make: Callable[[], nn.Module], message: str
):
    with pytest.raises(UnsupportedError) as caught:
        survey(make(), VECTORS)
    assert caught.value.message.startswith(message)
    assert caught.value.hint == "leave pruning out: --skip prune"

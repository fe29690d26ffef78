"""What a pruned network must be: smaller, aligned, still the network without those channels."""

import copy

import pytest
import torch
from torch import nn

from edgekiln.compiler.pruning import costs
from edgekiln.compiler.pruning.costs import Goal
from edgekiln.compiler.pruning.importance import weight_scores
from edgekiln.compiler.pruning.shrink import shrink, survey
from edgekiln.models import cost, zoo
from edgekiln.models.artifact import ModuleMeta, load_module, save_module
from edgekiln.runtime.errors import ConfigError, UnsupportedError
from tests.compiler.pruning import networks
from tests.compiler.pruning.networks import EXAMPLE


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def prune(module: nn.Module, ratio: float, multiple: int = 8, keep: tuple[str, ...] = ()) -> float:
    """Cut to `ratio`; returns the ratio reached."""
    before = cost.count(module, EXAMPLE[:1]).macs
    found = survey(module, EXAMPLE, keep)
    shrink(
        module,
        EXAMPLE,
        found.proven,
        weight_scores(module, "magnitude", []),
        goals=[Goal(cost_of=costs.macs, most=int(ratio * before))],
        multiple=multiple,
    )
    return cost.count(module, EXAMPLE[:1]).macs / before


def widths(module: nn.Module) -> dict[str, int]:
    return {
        name: layer.weight.shape[1 if isinstance(layer, nn.ConvTranspose2d) else 0]
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    }


@pytest.mark.parametrize("network", networks.SOUND, ids=lambda network: network.__name__)
def test_every_kind_of_coupling_is_pruned(network):
    module = network()
    reached = prune(module, 0.7, multiple=4)
    assert 0.4 < reached <= 0.7
    assert module(torch.randn(3, 3, 8, 8)).shape == (3, 10)


@pytest.mark.parametrize("network", networks.SOUND, ids=lambda network: network.__name__)
def test_a_pruned_network_is_saved_and_loaded_without_a_difference(network, tmp_path):
    module = network()
    prune(module, 0.7, multiple=4)
    meta = ModuleMeta(
        factory=f"tests.compiler.pruning.networks:{network.__name__}",
        input_shape=(3, 8, 8),
        data="digits",
    )
    save_module(tmp_path / "pruned.pt", module, meta)
    loaded, _ = load_module(tmp_path / "pruned.pt", {meta.factory})
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded(x), module.eval()(x))
    assert cost.count(loaded, EXAMPLE[:1]) == cost.count(module, EXAMPLE[:1])


@pytest.mark.parametrize(
    "network",
    [networks.residual, networks.depthwise, networks.dense, networks.unet, networks.unaligned],
    ids=lambda network: network.__name__,
)
def test_cut_widths_are_multiples(network):
    module = network()
    before = widths(module)
    prune(module, 0.5, multiple=8)
    after = widths(module)
    cut = {name for name in after if after[name] != before[name]}
    assert cut
    assert all(after[name] % 8 == 0 for name in cut)


def test_an_unaligned_width_is_first_brought_to_a_multiple():
    module = networks.unaligned()  # 20 and 30 channels
    prune(module, 0.85, multiple=8)
    assert set(widths(module).values()) <= {16, 20, 24, 30, 10}
    assert set(widths(module).values()) & {16, 24}


def test_the_head_keeps_its_outputs():
    module = networks.residual()
    prune(module, 0.01)
    assert widths(module)["head"] == 10


def test_the_last_block_alone_crosses_the_budget():
    module = networks.residual()
    reached = prune(module, 0.5, multiple=1)
    assert 0.45 < reached <= 0.5


def test_an_impossible_budget_stops_at_one_block_a_group():
    module = networks.residual()
    assert prune(module, 0.001, multiple=8) > 0.1
    assert set(widths(module).values()) == {8, 10}


def test_kept_layers_keep_their_outputs():
    module = networks.depthwise()
    prune(module, 0.5, keep=("body.1.inner.0.*",))
    assert widths(module)["body.1.inner.0.0"] == 48
    assert widths(module)["body.0.0"] < 16


def test_a_pattern_that_matches_no_layer_is_named():
    with pytest.raises(ConfigError) as caught:
        survey(networks.residual(), EXAMPLE, ("body.9",))
    assert caught.value.message == "--keep body.9: no layer has such a name"
    layers = caught.value.hint.removeprefix("layers are: ").removesuffix(", …").split(", ")
    assert set(layers) <= {name for name, _ in networks.residual().named_modules()}
    assert caught.value.exit_code == 2


def test_a_shortcut_padded_with_zero_channels_is_kept_and_named():
    module = networks.zero_pad()
    found = survey(module, EXAMPLE)
    assert any(
        note.startswith(("group body.stem.0 kept", "group body.block.0 kept"))
        for note in found.kept
    )
    prune(module, 0.8)
    assert widths(module)["body.stem.0"] == 16
    assert widths(module)["body.block.0"] == 32
    assert module(torch.randn(2, 3, 8, 8)).shape == (2, 10)


def test_a_network_with_a_shuffle_still_computes_the_same():
    module = networks.shuffled()
    prune(module, 0.9)
    assert module(torch.randn(2, 3, 8, 8)).shape == (2, 10)
    assert widths(module)["body.1.0"] == 16  # feeds the shuffle


def test_heads_stay_equal_when_attention_is_cut():
    module = networks.transformer()
    prune(module, 0.3, multiple=4)
    attention = module.attention
    assert attention.head_dim < 16
    assert attention.qkv.out_features == 3 * 2 * attention.head_dim
    assert attention.proj.in_features == attention.attn_dim == 2 * attention.head_dim


def test_groups_of_a_convolution_stay_equal():
    module = networks.grouped()
    prune(module, 0.4, multiple=4)
    grouped = module.body[1].inner[1][0]
    assert grouped.groups == 4
    assert grouped.weight.shape[0] == grouped.out_channels
    assert grouped.weight.shape[1] == grouped.in_channels // 4


@pytest.mark.parametrize("criterion", ["magnitude", "taylor", "fisher", "gradient-share"])
def test_each_criterion_finds_channels_that_do_nothing(criterion):
    module = nn.Sequential(
        networks.conv(3, 16), networks.conv(16, 8), nn.Flatten(), nn.Linear(512, 10)
    )
    dead = [0, 3, 4, 7, 8, 11, 12, 15]
    with torch.no_grad():
        module[0][0].weight[dead] = 0.0
        module[0][1].weight[dead] = 0.0
        module[1][0].weight[:, dead] = 0.0
    alive = module[0][0].weight[[c for c in range(16) if c not in dead]].clone()
    x = torch.randn(8, 3, 8, 8)
    scores = weight_scores(module, criterion, [lambda m: m(x).square().mean()] * 2)
    found = survey(module, EXAMPLE, ("1.0", "3"))
    budget = int(0.6 * cost.count(module, EXAMPLE[:1]).macs)
    with torch.no_grad():
        expected = copy.deepcopy(module).eval()(x)
        shrink(
            module,
            EXAMPLE,
            found.proven,
            scores,
            goals=[Goal(cost_of=costs.macs, most=budget)],
            multiple=8,
        )
        assert torch.equal(module[0][0].weight, alive)
        assert torch.allclose(module.eval()(x), expected, atol=1e-5)


def test_a_network_that_cannot_be_followed_is_named() -> None:
    with pytest.raises(UnsupportedError, match="the channels of ShuffleNetV2 cannot be followed"):
        survey(zoo.build("shufflenetv2?width=0.5"), torch.zeros(2, 3, 64, 64), ())

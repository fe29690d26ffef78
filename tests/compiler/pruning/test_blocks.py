"""Residual blocks that go whole."""

import pytest
import torch
from torch import nn

from edgekiln.compiler.pruning import costs
from edgekiln.compiler.pruning.blocks import removable_blocks, remove_cheapest
from edgekiln.compiler.pruning.costs import Goal
from edgekiln.models import cost, zoo
from edgekiln.models.artifact import ModuleMeta, load_module, save_module
from edgekiln.models.depth import remove_block, removed_blocks
from edgekiln.runtime.errors import InputError
from tests.compiler.pruning import networks
from tests.compiler.pruning.networks import EXAMPLE

META = ModuleMeta(factory="resnet20", kwargs={"width": 8}, input_shape=(3, 8, 8), data="digits")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def macs(module: nn.Module) -> int:
    return cost.count(module, EXAMPLE[:1]).macs


def half(module: nn.Module) -> list[Goal]:
    return [Goal(cost_of=costs.macs, most=macs(module) / 2)]


def loss(module: nn.Module) -> torch.Tensor:
    return module(EXAMPLE).square().mean()


def test_blocks_go_that_are_the_identity_without_their_branch():
    found = removable_blocks(zoo.build("resnet20?width=8"), EXAMPLE)
    # The first block of a stage changes the shape; the first of all keeps it.
    assert found == tuple(f"blocks.{place}" for place in (0, 1, 2, 4, 5, 7, 8))


def test_blocks_of_other_networks_go():
    mobile = removable_blocks(zoo.build("mobilenetv2?width=0.25"), torch.randn(4, 3, 32, 32))
    assert mobile
    vit = removable_blocks(zoo.build("vit?image_size=8&dim=16&depth=3"), EXAMPLE)
    assert vit == ("blocks.0", "blocks.1", "blocks.2")
    assert removable_blocks(networks.squeeze_excite(), EXAMPLE) == ()
    assert removable_blocks(networks.dense(), EXAMPLE) == ()


def test_kept_blocks_stay():
    found = removable_blocks(zoo.build("resnet20?width=8"), EXAMPLE, ("blocks.[0-4]",))
    assert found == ("blocks.5", "blocks.7", "blocks.8")


def test_a_shortcut_that_scales_is_no_identity():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = networks.conv(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 0.5 * x + self.inner(x)

    module = networks.Classifier(nn.Sequential(networks.conv(3, 16), Scaled()), 16)
    assert removable_blocks(module, EXAMPLE) == ()


def test_a_network_without_a_block_computes_what_it_does_with_the_branch_at_zero():
    module, zeroed = zoo.build("resnet20?width=8").eval(), zoo.build("resnet20?width=8").eval()
    zeroed.load_state_dict(module.state_dict())
    remove_block(module, "blocks.4")
    with torch.no_grad():
        for parameter in zeroed.blocks[4].parameters():
            parameter.zero_()
        assert torch.equal(module(EXAMPLE), zeroed(EXAMPLE))


def test_the_block_that_does_least_goes_first():
    module = zoo.build("resnet20?width=8").eval()
    with torch.no_grad():  # the branch of one block adds nothing
        module.blocks[5].bn2.weight.zero_()
        module.blocks[5].bn2.bias.zero_()
        before = module(EXAMPLE)
        names = removable_blocks(module, EXAMPLE)
        changes = [lambda net: (net(EXAMPLE) - before).square().mean()]
        removed = remove_cheapest(module, EXAMPLE, names, changes, half(module), count=1)
        assert removed == ("blocks.5",)
        assert torch.equal(module(EXAMPLE), before)


def test_no_block_goes_once_the_budget_is_met():
    module = zoo.build("resnet20?width=8").eval()
    names = removable_blocks(module, EXAMPLE)
    goals = [Goal(cost_of=costs.macs, most=0.9 * macs(module))]
    removed = remove_cheapest(module, EXAMPLE, names, [loss], goals, count=7)
    assert 1 <= len(removed) < 3
    assert macs(module) <= goals[0].most


def test_a_network_without_some_blocks_is_saved_and_loaded_without_a_difference(tmp_path):
    module = zoo.build("resnet20?width=8").eval()
    names = removable_blocks(module, EXAMPLE)
    removed = remove_cheapest(module, EXAMPLE, names, [loss], half(module), count=2)
    save_module(tmp_path / "short.pt", module, META)
    loaded, _ = load_module(tmp_path / "short.pt")
    assert sorted(removed_blocks(loaded)) == sorted(removed)
    with torch.no_grad():
        assert torch.equal(loaded(EXAMPLE), module(EXAMPLE))
    save_module(tmp_path / "again.pt", loaded, META)
    assert (tmp_path / "short.pt").read_bytes() == (tmp_path / "again.pt").read_bytes()


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (["blocks.99"], "no part of the model is named 'blocks.99'"),
        ([""], "incomplete module artifact"),
        ("blocks.1", "incomplete module artifact"),
        (["blocks.1"], "the tensors do not fit the model: Unexpected key(s) in state_dict"),
    ],
)
def test_a_damaged_list_of_removed_blocks_is_refused(removed, message, tmp_path):
    path = tmp_path / "net.pt"
    save_module(path, zoo.build("resnet20?width=8"), META)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "removed": removed}, path)
    with pytest.raises(InputError) as caught:
        load_module(path)
    assert message in caught.value.message

"""Whole heads: gone from every layer of the attention, proven, and gone from the file, too."""

import pytest
import torch
from torch import nn

from edgekiln.compiler.pruning import costs
from edgekiln.compiler.pruning.attention import head_groups
from edgekiln.compiler.pruning.costs import Goal
from edgekiln.compiler.pruning.importance import weight_scores
from edgekiln.compiler.pruning.proof import Prover
from edgekiln.compiler.pruning.shrink import shrink, survey
from edgekiln.models import cost, zoo
from edgekiln.models.artifact import ModuleMeta, load_module, save_module
from tests.compiler.pruning import networks
from tests.compiler.pruning.networks import EXAMPLE

VIT = "vit?image_size=8&dim=32&depth=2&num_heads=4"


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def make(name: str) -> nn.Module:
    return networks.transformer() if name == "fused" else zoo.build(name).eval()


def cut_heads(module: nn.Module, share: float = 0.7) -> None:
    found = survey(module, EXAMPLE, ("*mlp*",), whole_heads=True)
    before = cost.count(module, EXAMPLE[:1]).macs
    shrink(
        module,
        EXAMPLE,
        found.proven,
        weight_scores(module, "magnitude", []),
        goals=[Goal(cost_of=costs.macs, most=share * before)],
        multiple=8,
    )


@pytest.mark.parametrize("name", [VIT, "fused"])
def test_every_attention_may_lose_whole_heads(name):
    module = make(name)
    proven = survey(module, EXAMPLE, whole_heads=True).proven
    assert {group.attention for group in proven if group.attention} == {
        part for part, child in module.named_modules() if hasattr(child, "num_heads")
    }
    alone = {name for group in proven if not group.attention for name in group.producers}
    assert not any(layer.endswith((".q", ".k", ".v", "qkv")) for layer in alone)
    assert any("mlp" in layer for layer in alone)  # widths of MLPs are cut as ever


@pytest.mark.parametrize("name", [VIT, "fused"])
def test_another_head_zeroed_than_cut_is_caught(name):
    module = make(name)
    group = next(head_groups(module))
    one, other, *_ = group.atoms
    assert not Prover(module, EXAMPLE).compare(group, cut=one, zeroed=other).proven
    assert Prover(module, EXAMPLE).compare(group, cut=one, zeroed=one).proven


def test_heads_that_do_nothing_go_first_and_the_others_stay_as_they_are():
    module = make(VIT)
    attention = module.get_submodule("blocks.0.attention")
    with torch.no_grad():
        for layer in (attention.q, attention.k, attention.v):
            layer.weight[8:16] = 0.0
        attention.project.weight[:, 8:16] = 0.0
        kept = attention.v.weight[[*range(8), *range(16, 32)]].clone()
        expected = module(EXAMPLE)
        cut_heads(module, 0.97)
        assert attention.num_heads == 3
        assert torch.equal(attention.v.weight, kept)
        assert torch.allclose(module(EXAMPLE), expected, atol=1e-5)


@pytest.mark.parametrize("name", [VIT, "fused"])
def test_a_network_without_some_heads_is_saved_and_loaded_without_a_difference(name, tmp_path):
    module = make(name)
    heads = [group.attention for group in head_groups(module)]
    before = {part: module.get_submodule(part).num_heads for part in heads}
    cut_heads(module)
    factory = "tests.compiler.pruning.networks:transformer" if name == "fused" else "vit"
    kwargs = {} if name == "fused" else {"image_size": 8, "dim": 32, "depth": 2, "num_heads": 4}
    meta = ModuleMeta(factory=factory, kwargs=kwargs, input_shape=(3, 8, 8), data="digits")
    save_module(tmp_path / "pruned.pt", module, meta)
    loaded, _ = load_module(tmp_path / "pruned.pt", {factory})
    with torch.no_grad():
        assert torch.equal(loaded(EXAMPLE), module(EXAMPLE))
    after = {part: loaded.get_submodule(part).num_heads for part in heads}
    assert sum(after.values()) < sum(before.values())
    # Heads went, and none got narrower.
    for part in heads:
        projection = [c for c in loaded.get_submodule(part).children() if hasattr(c, "weight")][-1]
        assert projection.in_features == after[part] * (32 // before[part])

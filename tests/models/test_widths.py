"""A module takes the widths of its tensors."""

import pytest
import torch
import torch_pruning
from torch import nn

from edgekiln.models import widths, zoo
from edgekiln.runtime.errors import InputError


def _state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("name", ["resnet8", "resnet20", "mobilenetv1", "mobilenetv2", "dscnn"])
def test_a_really_pruned_network_is_rebuilt_from_its_tensors(name):
    entry = zoo.ENTRIES[name]
    x = torch.randn(2, *entry.input_shape, generator=torch.Generator().manual_seed(0))
    pruned = zoo.build(name).eval()
    torch_pruning.MagnitudePruner(
        pruned,
        x,
        importance=torch_pruning.importance.MagnitudeImportance(),
        pruning_ratio=0.5,
        ignored_layers=[pruned.head],
    ).step()
    rebuilt = zoo.build(name).eval()
    widths.load_resized(rebuilt, _state(pruned))
    assert torch.equal(rebuilt(x), pruned(x))
    assert str(rebuilt) == str(pruned)  # the layers' own numbers, not only their tensors


@pytest.mark.parametrize(
    ("whole", "cut"),
    [
        (nn.Linear(8, 4), nn.Linear(6, 2)),
        (nn.Conv1d(8, 4, 3), nn.Conv1d(5, 2, 3)),
        (nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(3, 3, 3, groups=3)),
        (nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(3, 6, 3, groups=3)),  # two outputs a channel
        (nn.Conv2d(8, 16, 3, groups=2), nn.Conv2d(4, 12, 3, groups=2)),
        (nn.ConvTranspose2d(8, 4, 2), nn.ConvTranspose2d(5, 3, 2)),
        (nn.BatchNorm2d(8), nn.BatchNorm2d(3)),
        (nn.BatchNorm1d(8, affine=False), nn.BatchNorm1d(3, affine=False)),
        (
            nn.BatchNorm1d(8, track_running_stats=False),
            nn.BatchNorm1d(3, track_running_stats=False),
        ),
        (nn.LayerNorm(8), nn.LayerNorm(3)),
        (nn.GroupNorm(2, 8), nn.GroupNorm(2, 4)),
        (nn.PReLU(8), nn.PReLU(3)),
    ],
    ids=str,
)
def test_a_layer_becomes_the_narrow_one(whole, cut):
    widths.load_resized(whole, _state(cut))
    assert str(whole) == str(cut)
    assert all(torch.equal(whole.state_dict()[key], value) for key, value in _state(cut).items())


def test_a_parameter_outside_any_layer_is_resized():
    whole, cut = zoo.build("vit"), zoo.build("vit?dim=32")
    widths.load_resized(whole, _state(cut))
    assert whole.positions.shape == (1, 64, 32)
    assert whole.positions.requires_grad


def test_narrower_attention_heads_need_no_bookkeeping():
    cut = zoo.build("vit").eval()
    for block in cut.blocks:
        for layer in (block.attention.q, block.attention.k, block.attention.v):
            layer.weight = nn.Parameter(layer.weight[:32].detach())
            layer.bias = nn.Parameter(layer.bias[:32].detach())
        block.attention.project.weight = nn.Parameter(
            block.attention.project.weight[:, :32].detach()
        )
    rebuilt = zoo.build("vit").eval()
    widths.load_resized(rebuilt, _state(cut))
    x = torch.zeros(1, 3, 32, 32)
    assert torch.equal(rebuilt(x), cut(x))


def test_the_number_of_heads_is_recorded_and_restored():
    two_heads = zoo.build("vit?num_heads=2&depth=1")
    four_heads = zoo.build("vit?num_heads=4&depth=1")
    recorded = widths.head_attributes(two_heads)
    assert recorded == {"blocks.0.attention": {"num_heads": 2}}
    widths.set_head_attributes(four_heads, recorded)
    assert four_heads.blocks[0].attention.num_heads == 2


def test_a_missing_tensor_is_named():
    state = _state(nn.Linear(3, 2))
    del state["bias"]
    with pytest.raises(InputError) as caught:
        widths.load_resized(nn.Linear(3, 2), state)
    assert caught.value.message == (
        'the tensors do not fit the model: Missing key(s) in state_dict: "bias".'
    )


def test_a_tensor_of_another_rank_is_named():
    with pytest.raises(InputError) as caught:
        widths.load_resized(
            nn.Linear(3, 2), {"weight": torch.zeros(2, 3, 1), "bias": torch.zeros(2)}
        )
    assert caught.value.message == "weight: has shape (2, 3, 1), the model (2, 3)"

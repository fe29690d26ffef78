"""Each expectation is the textbook formula, written out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekiln.models.cost import count


def macs(module: nn.Module, *shape: int) -> int:
    return count(module, torch.zeros(1, *shape)).macs


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Conv2d(8, 16, 3, padding=1), (8, 6, 6), 36 * 16 * 8 * 9),
        (nn.Conv2d(8, 16, 3, padding=1, stride=2), (8, 6, 6), 9 * 16 * 8 * 9),
        (nn.Conv2d(8, 16, 3, padding=1, groups=4), (8, 6, 6), 36 * 16 * 2 * 9),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), (8, 6, 6), 36 * 8 * 9),
        (nn.ConvTranspose2d(8, 16, 2, stride=2), (8, 6, 6), 36 * 8 * 16 * 4),
        (nn.Conv1d(8, 16, 3, padding=1), (8, 6), 6 * 8 * 16 * 3),
        (nn.Linear(8, 16), (8,), 8 * 16),
        (nn.Linear(8, 16), (5, 8), 5 * 8 * 16),
    ],
)
def test_a_layer_costs_what_its_formula_says(layer, shape, expected):
    costs = count(layer, torch.zeros(1, *shape))
    assert costs.macs == expected
    assert costs.uses[""] * layer.weight.numel() == expected


class Attention(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x)


class MultiHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def test_attention_is_two_matrix_products():
    assert macs(Attention(), 2, 5, 8) == 2 * (2 * 5 * 5 * 8)


def test_multi_head_attention_has_its_projections_too():
    assert macs(MultiHead(), 5, 16) == 5 * 16 * 48 + 2 * (5 * 5 * 16) + 5 * 16 * 16


def test_a_batch_norm_behind_a_convolution_costs_its_bias_only():
    plain = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8))
    biased = nn.Sequential(nn.Conv2d(3, 8, 1, bias=True), nn.BatchNorm2d(8))
    folded = nn.Sequential(nn.Conv2d(3, 8, 1, bias=True))
    assert {count(m, torch.zeros(1, 3, 2, 2)).parameters for m in (plain, biased, folded)} == {
        3 * 8 + 8
    }


def test_a_batch_norm_that_cannot_be_folded_counts():
    before = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 8, 1))
    assert count(before, torch.zeros(1, 3, 2, 2)).parameters == 6 + 3 * 8 + 8


def test_counting_leaves_the_module_as_it_was():
    module = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)).train()
    mean = module[1].running_mean.clone()
    count(module, torch.ones(1, 3, 2, 2))
    assert module.training
    assert torch.equal(module[1].running_mean, mean)
    assert not module[0]._forward_hooks

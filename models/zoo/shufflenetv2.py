"""ShuffleNetV2: half of the channels pass by, and a shuffle mixes the halves.

Ma, Zhang, Zheng, Sun: ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design,
2018 (arXiv:1807.11164), figure 3 and table 5.
"""

import torch
from torch import Tensor, nn

from edgekiln.models.zoo.blocks import conv_bn_relu, rounded_width

_STAGES = ((116, 4), (232, 8), (464, 4))  # channels and units at width 1, table 5
_STEM, _LAST = 24, 1024


def channel_shuffle(x: Tensor) -> Tensor:
    """Interleave the two halves of the channels (Zhang et al. 2017, arXiv:1707.01083, figure 1)."""
    n, c, h, w = x.shape
    # (2, C/2) → (C/2, 2): channel i of either half lies beside that of the other.
    return x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def _branch(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """1×1, depthwise 3×3 without activation, 1×1."""
    return nn.Sequential(
        conv_bn_relu(inputs, outputs, 1, padding=0),
        _depthwise(outputs, stride),
        conv_bn_relu(outputs, outputs, 1, padding=0),
    )


def _depthwise(channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
    )


class Unit(nn.Module):
    """One half of the channels stays, one goes through a branch; figure 3 (c)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = _branch(channels // 2, channels // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, dim=1)
        return channel_shuffle(torch.cat((kept, self.branch(changed)), dim=1))


class DownUnit(nn.Module):
    """All channels go through two branches that halve the image; figure 3 (d)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.short = nn.Sequential(
            _depthwise(inputs, 2), conv_bn_relu(inputs, outputs // 2, 1, padding=0)
        )
        self.branch = _branch(inputs, outputs // 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return channel_shuffle(torch.cat((self.short(x), self.branch(x)), dim=1))


class ShuffleNetV2(nn.Module):
    """Stem, three stages of units, a 1×1 layer, global average pooling, one linear layer."""

    def __init__(self, *, width: float = 1.0, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            conv_bn_relu(in_channels, _STEM, 3, stride=2, padding=1),
            nn.MaxPool2d(3, 2, padding=1),
        ]
        inputs = _STEM
        for channels, units in _STAGES:
            # Not multiples of 8, which table 5's 116 is none of.
            outputs = rounded_width(channels * width, 4)
            layers += [DownUnit(inputs, outputs), *(Unit(outputs) for _ in range(units - 1))]
            inputs = outputs
        layers.append(conv_bn_relu(inputs, _LAST, 1, padding=0))
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(_LAST, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → logits (N, classes)."""
        return self.head(self.pool(self.layers(x)).flatten(1))  # type: ignore[no-any-return]

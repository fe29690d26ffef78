"""SqueezeNet 1.1: fire modules, which squeeze to few channels and expand by two convolutions.

Iandola et al.: SqueezeNet: AlexNet-level accuracy with 50x fewer parameters, 2016
(arXiv:1602.07360), section 3; the widths are those of the authors' release 1.1.
"""

import torch
from torch import Tensor, nn

# Squeezed channels of each fire module, an eighth of what it makes; None is a pooling.
_FIRES = (16, 16, None, 32, 32, None, 48, 48, 64, 64)
_STEM = 64
_EXPANSION = 4


class Fire(nn.Module):
    """1×1 to `squeeze` channels, then 1×1 and 3×3 side by side, concatenated; figure 1."""

    def __init__(self, inputs: int, squeeze: int) -> None:
        super().__init__()
        half = squeeze * _EXPANSION
        self.squeeze = nn.Sequential(nn.Conv2d(inputs, squeeze, 1), nn.ReLU())
        self.expand1 = nn.Sequential(nn.Conv2d(squeeze, half, 1), nn.ReLU())
        self.expand3 = nn.Sequential(nn.Conv2d(squeeze, half, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        y = self.squeeze(x)
        return torch.cat((self.expand1(y), self.expand3(y)), dim=1)


class SqueezeNet(nn.Module):
    """Stem, eight fire modules, a 1×1 layer to the classes, global average pooling."""

    def __init__(self, *, width: float = 1.0, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        inputs = int(_STEM * width)
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, inputs, 3, stride=2),
            nn.ReLU(),
            # Caffe, in which the authors published it, rounds the extents of a pooling up.
            nn.MaxPool2d(3, 2, ceil_mode=True),
        ]
        for channels in _FIRES:
            if channels is None:
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
                continue
            squeeze = int(channels * width)
            layers.append(Fire(inputs, squeeze))
            inputs = 2 * _EXPANSION * squeeze
        self.layers = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(inputs, classes, 1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # without batch normalization it would not learn else
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → logits (N, classes)."""
        return self.pool(self.head(self.layers(x))).flatten(1)  # type: ignore[no-any-return]

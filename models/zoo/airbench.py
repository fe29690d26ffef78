"""The network of airbench94, which learns CIFAR-10 in very few epochs.

Jordan: 94 % on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024 (arXiv:2404.00498), section 3 and
KellerJordan/cifar10-airbench.
"""

import torch
from torch import Tensor, nn

_KERNEL = 2  # of the whitening
_MOMENTUM = 0.4  # of batch norm's statistics: ten times torch's, for trainings of few steps
_EPSILON = 5e-4  # added to the patches' variances, so that noise is not blown up


class AirbenchGroup(nn.Module):
    """gelu(BN(conv3x3(gelu(BN(pool2x2(conv3x3(x))))))); the scales of batch norm stay 1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, outputs)
        self.pool = nn.MaxPool2d(2)
        self.norm1 = _norm(outputs)
        self.conv2 = _convolution(outputs, outputs)
        self.norm2 = _norm(outputs)
        self.activation = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.norm1(self.pool(self.conv1(x))))
        return self.activation(self.norm2(self.conv2(x)))  # type: ignore[no-any-return]


class Airbench(nn.Module):
    """A whitening 2×2 convolution, three groups, global max pooling, one linear layer.

    The whitening is computed from samples (`initialize_by_samples`) and not trained. Differs from
    the paper's in one way: batch norm has torch's epsilon, as one of 1e-12 makes large numbers of a
    channel that is always 0.

    Args:
        width: channels of the first group; the other two have four times as many.
    """

    def __init__(self, *, width: int = 64, classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        whitened = 2 * in_channels * _KERNEL**2
        self.whiten = nn.Conv2d(in_channels, whitened, _KERNEL)
        self.whiten.weight.requires_grad_(False)
        self.activation = nn.GELU()
        self.groups = nn.Sequential(
            AirbenchGroup(whitened, width),
            AirbenchGroup(width, 4 * width),
            AirbenchGroup(4 * width, 4 * width),
        )
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.head = nn.Linear(4 * width, classes, bias=False)
        self.scale = 1 / 9  # of the logits, the paper's

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → logits (N, classes)."""
        x = self.groups(self.activation(self.whiten(x)))
        return self.head(self.pool(x).flatten(1)) * self.scale  # type: ignore[no-any-return]

    def initialize_by_samples(self, x: Tensor) -> None:
        """Set the first layer to the principal axes of the 2×2 patches of `x`, (N, C, H, W), each
        scaled to variance 1, and to their negatives.
        """
        patches = nn.functional.unfold(x, _KERNEL).transpose(1, 2).flatten(0, 1).double()
        covariance = patches.T @ patches / len(patches)
        variances, axes = torch.linalg.eigh(covariance)
        filters = (axes / (variances + _EPSILON).sqrt()).T.reshape(
            -1, *self.whiten.weight.shape[1:]
        )
        with torch.no_grad():
            self.whiten.weight.copy_(torch.cat([filters, -filters]))


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    # The first filters begin as the identity, section 3.3.
    nn.init.dirac_(layer.weight.data[:inputs])
    return layer


def _norm(channels: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels, momentum=_MOMENTUM)
    layer.weight.requires_grad_(False)
    return layer

"""ResNets with basic blocks: MLPerf Tiny's ResNet-8, He et al.'s CIFAR ResNets, and ResNet-18.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015 (arXiv:1512.03385).
"""

from collections.abc import Sequence

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """relu(BN(conv3x3(relu(BN(conv3x3(x))))) + shortcut(x)), section 3.3 of the paper.

    The shortcut is the identity, or a 1×1 convolution where the shape changes.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, plain_shortcut: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = (
                nn.Conv2d(inputs, outputs, 1, stride)
                if plain_shortcut
                else nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.shortcut(x))  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """Stem, stages of basic blocks, global average pooling, one linear layer.

    Stage i has `depths[i]` blocks of `width * 2**i` channels; all but the first halve the image.

    Args:
        image_stem: ImageNet's 7×7 stride-2 convolution and 3×3 pooling, not one 3×3 convolution.
        plain_shortcut: 1×1 shortcuts have a bias and no batch normalization.
    """

    def __init__(
        self,
        depths: Sequence[int],
        *,
        width: int,
        classes: int,
        in_channels: int,
        image_stem: bool = False,
        plain_shortcut: bool = False,
    ) -> None:
        super().__init__()
        kernel, stride = (7, 2) if image_stem else (3, 1)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        if image_stem:
            self.stem.append(nn.MaxPool2d(3, 2, padding=1))
        blocks: list[nn.Module] = []
        inputs = width
        for stage, depth in enumerate(depths):
            outputs = width * 2**stage
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(BasicBlock(inputs, outputs, stride, plain_shortcut=plain_shortcut))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # He et al. 2015 (arXiv:1502.01852), as the paper's section 3.4 asks for.
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → logits (N, classes)."""
        return self.head(self.pool(self.blocks(self.stem(x))).flatten(1))  # type: ignore[no-any-return]


def resnet8(*, classes: int = 10, width: int = 16, in_channels: int = 3) -> ResNet:
    """MLPerf Tiny image classification: `resnet_v1_eembc` in the Keras reference.

    Banbury et al.: MLPerf Tiny Benchmark, 2021 (arXiv:2106.07597), section 4.1, and
    mlcommons/tiny `benchmark/training/image_classification/keras_model.py`: three stages of one
    block, 16/32/64 channels, plain 1×1 shortcuts. Differs in two ways: no bias before a batch
    normalization, which cancels it, and symmetric padding where Keras pads stride 2 at the bottom
    right only.
    """
    return ResNet(
        (1, 1, 1), width=width, classes=classes, in_channels=in_channels, plain_shortcut=True
    )


def resnet20(*, classes: int = 10, width: int = 16, in_channels: int = 3) -> ResNet:
    """The 6n+2 CIFAR network of the paper's section 4.2 with n = 3.

    Shortcuts are projections (option B), which costs 1 % more parameters. The paper's CIFAR
    networks pad with zero channels (option A), but pruning cannot follow a channel through that.
    """
    return ResNet((3, 3, 3), width=width, classes=classes, in_channels=in_channels)


def resnet56(*, classes: int = 10, width: int = 16, in_channels: int = 3) -> ResNet:
    """The 6n+2 CIFAR network of the paper's section 4.2 with n = 9; shortcuts as in `resnet20`."""
    return ResNet((9, 9, 9), width=width, classes=classes, in_channels=in_channels)


def resnet18(*, classes: int = 1000, width: int = 64, in_channels: int = 3) -> ResNet:
    """The 18-layer ImageNet network of the paper's table 1."""
    return ResNet(
        (2, 2, 2, 2), width=width, classes=classes, in_channels=in_channels, image_stem=True
    )

"""MobileNetV2: inverted residuals with linear bottlenecks.

Sandler et al.: MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018 (arXiv:1801.04381).
"""

from torch import Tensor, nn

from edgekiln.models.zoo.blocks import MOST_REDUCTION, conv_bn_relu, rounded_width, strides_kept

# Expansion t, channels c, repeats n, first stride s: table 2.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM, _LAST = 32, 1280


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise, project 1×1 without activation; table 1 and figure 4."""

    def __init__(
        self, inputs: int, outputs: int, *, stride: int, expansion: int, kernel: int = 3
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        # The first stage has nothing to expand.
        if expansion != 1:
            layers.append(conv_bn_relu(inputs, hidden, 1, padding=0, activation=nn.ReLU6))
        layers += [
            conv_bn_relu(
                hidden,
                hidden,
                kernel,
                stride=stride,
                padding=kernel // 2,
                depthwise=True,
                activation=nn.ReLU6,
            ),
            # Linear: an activation in so few channels would lose what they hold (section 3.2).
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """Stem, 17 inverted residuals, a 1×1 layer, global average pooling, one linear layer.

    Channels are `width` times table 2's, in multiples of 8; the last 1×1 layer never shrinks
    (section 6.1).
    """

    def __init__(
        self,
        *,
        width: float = 1.0,
        classes: int = 1000,
        in_channels: int = 3,
        reduction: int = MOST_REDUCTION,
    ) -> None:
        super().__init__()
        kept = strides_kept(reduction)
        inputs = rounded_width(_STEM * width)
        layers: list[nn.Module] = [
            conv_bn_relu(in_channels, inputs, 3, stride=next(kept), padding=1, activation=nn.ReLU6)
        ]
        for expansion, channels, repeats, first_stride in _STAGES:
            outputs = rounded_width(channels * width)
            for block in range(repeats):
                stride = next(kept) if block == 0 and first_stride == 2 else 1
                layers.append(InvertedResidual(inputs, outputs, stride=stride, expansion=expansion))
                inputs = outputs
        last = rounded_width(_LAST * max(1.0, width))
        layers.append(conv_bn_relu(inputs, last, 1, padding=0, activation=nn.ReLU6))
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → logits (N, classes)."""
        return self.head(self.pool(self.layers(x)).flatten(1))  # type: ignore[no-any-return]

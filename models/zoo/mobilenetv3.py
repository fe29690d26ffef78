"""MobileNetV3-Small: inverted residuals with hard-swish and squeeze-excitation.

Howard et al.: Searching for MobileNetV3, 2019 (arXiv:1905.02244), table 2 and section 5.
"""

from torch import Tensor, nn

from edgekiln.models.zoo.blocks import MOST_REDUCTION, conv_bn_relu, rounded_width, strides_kept

# Kernel, expanded channels, output channels, squeeze-excitation, activation, stride: table 2.
_BLOCKS = (
    (3, 16, 16, True, nn.ReLU, 2),
    (3, 72, 24, False, nn.ReLU, 2),
    (3, 88, 24, False, nn.ReLU, 1),
    (5, 96, 40, True, nn.Hardswish, 2),
    (5, 240, 40, True, nn.Hardswish, 1),
    (5, 240, 40, True, nn.Hardswish, 1),
    (5, 120, 48, True, nn.Hardswish, 1),
    (5, 144, 48, True, nn.Hardswish, 1),
    (5, 288, 96, True, nn.Hardswish, 2),
    (5, 576, 96, True, nn.Hardswish, 1),
    (5, 576, 96, True, nn.Hardswish, 1),
)
_STEM, _LAST, _HEAD = 16, 576, 1024


class SqueezeExcite(nn.Module):
    """Scale each channel by a function of all channels' means; the gate is a hard sigmoid (5.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = rounded_width(channels / 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)  # type: ignore[no-any-return]


class MobileBottleneck(nn.Module):
    """Expand 1×1, depthwise, squeeze-excite, project 1×1 without activation; figure 4."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        kernel: int,
        stride: int,
        excite: bool,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hidden != inputs:
            layers.append(conv_bn_relu(inputs, hidden, 1, padding=0, activation=activation))
        layers.append(
            conv_bn_relu(
                hidden,
                hidden,
                kernel,
                stride=stride,
                padding=kernel // 2,
                depthwise=True,
                activation=activation,
            )
        )
        if excite:
            layers.append(SqueezeExcite(hidden))
        layers += [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class MobileNetV3(nn.Module):
    """Stem, 11 inverted residuals, a 1×1 layer, global average pooling, two linear layers."""

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
            conv_bn_relu(
                in_channels, inputs, 3, stride=next(kept), padding=1, activation=nn.Hardswish
            )
        ]
        for kernel, expanded, channels, excite, activation, stride in _BLOCKS:
            outputs = rounded_width(channels * width)
            layers.append(
                MobileBottleneck(
                    inputs,
                    rounded_width(expanded * width),
                    outputs,
                    kernel=kernel,
                    stride=next(kept) if stride == 2 else 1,
                    excite=excite,
                    activation=activation,
                )
            )
            inputs = outputs
        last = rounded_width(_LAST * width)
        layers.append(conv_bn_relu(inputs, last, 1, padding=0, activation=nn.Hardswish))
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(
            nn.Linear(last, _HEAD), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(_HEAD, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → logits (N, classes)."""
        return self.head(self.pool(self.layers(x)).flatten(1))  # type: ignore[no-any-return]

"""EfficientNet-Lite: EfficientNet for integer arithmetic, with ReLU6 and no squeeze-excitation.

Tan, Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019
(arXiv:1905.11946), table 1, with the changes of tensorflow/tpu `efficientnet/lite`: stem and head
keep their width, no squeeze-excitation, ReLU6 for swish.
"""

from torch import Tensor, nn

from edgekiln.models.zoo.blocks import conv_bn_relu, rounded_width
from edgekiln.models.zoo.mobilenetv2 import InvertedResidual

# Expansion, channels, repeats, first stride, kernel: table 1.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_STEM, _LAST = 32, 1280


class EfficientNetLite(nn.Module):
    """Stem, 16 inverted residuals, a 1×1 layer, global average pooling, one linear layer.

    Width 1 is EfficientNet-Lite0.
    """

    def __init__(self, *, width: float = 1.0, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        # Neither the stem nor the last layer grows with the width; the stages do.
        inputs = _STEM
        layers: list[nn.Module] = [
            conv_bn_relu(in_channels, inputs, 3, stride=2, padding=1, activation=nn.ReLU6)
        ]
        for expansion, channels, repeats, first_stride, kernel in _STAGES:
            outputs = rounded_width(channels * width)
            for block in range(repeats):
                stride = first_stride if block == 0 else 1
                layers.append(
                    InvertedResidual(
                        inputs, outputs, stride=stride, expansion=expansion, kernel=kernel
                    )
                )
                inputs = outputs
        layers.append(conv_bn_relu(inputs, _LAST, 1, padding=0, activation=nn.ReLU6))
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(_LAST, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → logits (N, classes)."""
        return self.head(self.drop(self.pool(self.layers(x)).flatten(1)))  # type: ignore[no-any-return]

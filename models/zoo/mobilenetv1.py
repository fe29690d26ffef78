"""MobileNetV1: depthwise separable convolutions.

Howard et al.: MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications,
2017 (arXiv:1704.04861), table 1.
"""

from torch import Tensor, nn

from edgekiln.models.zoo.blocks import conv_bn_relu

_STEM = 32
# Pointwise output channels and stride of each separable block, table 1.
_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2))
_LAST = 1024


class MobileNetV1(nn.Module):
    """Stem, 13 separable blocks, global average pooling, one linear layer.

    Width 0.25, 2 classes and 96×96 images are MLPerf Tiny's person detection: `mobilenet_v1` in
    mlcommons/tiny `benchmark/training/visual_wake_words/vww_model.py`.
    """

    def __init__(self, *, width: float = 1.0, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        inputs = int(_STEM * width)
        layers = [conv_bn_relu(in_channels, inputs, 3, stride=2, padding=1)]
        for channels, stride in (*_BLOCKS, (_LAST, 1)):
            outputs = int(channels * width)
            layers += [
                conv_bn_relu(inputs, inputs, 3, stride=stride, padding=1, depthwise=True),
                conv_bn_relu(inputs, outputs, 1, padding=0),
            ]
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → logits (N, classes)."""
        return self.head(self.pool(self.layers(x)).flatten(1))  # type: ignore[no-any-return]

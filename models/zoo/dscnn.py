"""DS-CNN: a depthwise separable network that hears keywords.

Zhang, Suda, Lai, Chandra: Hello Edge: Keyword Spotting on Microcontrollers, 2017
(arXiv:1711.07128), section 4.4.
"""

from torch import Tensor, nn

from edgekiln.models.zoo.blocks import conv_bn_relu

_BLOCKS = 4


class DSCNN(nn.Module):
    """MLPerf Tiny keyword spotting: the "ds_cnn" of mlcommons/tiny
    `benchmark/training/keyword_spotting/keras_model.py`, for 49 time steps of 10 MFCCs.

    Padding is symmetric; Keras's "same" adds one row less at the top of the first layer.
    """

    def __init__(self, *, classes: int = 12, width: int = 64, in_channels: int = 1) -> None:
        super().__init__()
        self.stem = conv_bn_relu(in_channels, width, (10, 4), stride=(2, 2), padding=(5, 1))
        self.drop_stem = nn.Dropout(0.2)
        layers: list[nn.Module] = []
        for _ in range(_BLOCKS):
            layers += [
                conv_bn_relu(width, width, 3, padding=1, depthwise=True),
                conv_bn_relu(width, width, 1, padding=0),
            ]
        self.blocks = nn.Sequential(*layers)
        self.drop_head = nn.Dropout(0.4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, time, coefficients) → logits (N, classes)."""
        y = self.blocks(self.drop_stem(self.stem(x)))
        return self.head(self.pool(self.drop_head(y)).flatten(1))  # type: ignore[no-any-return]

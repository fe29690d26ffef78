"""MLPerf Tiny anomaly detection: a dense autoencoder that reconstructs normal machine sound.

Koizumi et al.: Description and Discussion on DCASE2020 Challenge Task 2 (arXiv:2006.05822), the
baseline system; mlcommons/tiny `benchmark/training/anomaly_detection/keras_model.py`.
"""

from torch import Tensor, nn

_DEPTH = 4  # hidden layers on either side of the bottleneck


class Autoencoder(nn.Module):
    """640 → 4 × 128 → 8 → 4 × 128 → 640; every layer but the last has batch norm and ReLU.

    640 features are 5 frames of 128 log-mel bands.
    """

    def __init__(self, *, features: int = 640, width: int = 128, bottleneck: int = 8) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = features
        for outputs in (*(width,) * _DEPTH, bottleneck, *(width,) * _DEPTH):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, features)

    def forward(self, x: Tensor) -> Tensor:
        """(N, features) → its reconstruction, (N, features)."""
        return self.head(self.layers(x))  # type: ignore[no-any-return]

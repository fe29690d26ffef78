"""How much of the signal survives quantization."""

import numpy as np
from numpy.typing import NDArray

PERFECT_DB = 200.0  # two equal outputs have no noise; the report needs a number
LOST_DB = -PERFECT_DB  # nothing of the signal, or no signal: NaN, or zeros alone
ANY_SIGNAL_DB = LOST_DB + 1.0  # the least ratio of outputs that are numbers


class Sqnr:
    """Signal-to-quantization-noise ratio over any number of batches:
    10 · log10(Σ f² / Σ (f − q)²) dB, for the float output f and the quantized one q.
    """

    def __init__(self) -> None:
        self._signal = self._noise = 0.0

    def add(self, real: NDArray[np.generic], quantized: NDArray[np.generic]) -> None:
        exact = real.astype(np.float64)
        self._signal += float(np.sum(exact**2))
        self._noise += float(np.sum((exact - quantized.astype(np.float64)) ** 2))

    @property
    def has_signal(self) -> bool:
        """Whether any output so far was another number than 0."""
        return self._signal > 0.0

    @property
    def db(self) -> float:
        """The ratio so far, between LOST_DB and PERFECT_DB."""
        if self._signal == 0.0 or not np.isfinite(self._signal + self._noise):
            return LOST_DB
        if self._noise == 0.0:
            return PERFECT_DB
        return min(10.0 * float(np.log10(self._signal / self._noise)), PERFECT_DB)

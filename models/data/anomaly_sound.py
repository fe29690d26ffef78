"""Synthetic anomaly audio, the data set `hum`: generated sound of machines, not recorded.

It has the form of the MLPerf Tiny task (five frames of 128 log-mel bands, trained on normal sound
only) so that the autoencoder can be built and measured without a download. It says nothing about
how well the model finds faults of real machines.
"""

import numpy as np

from edgekiln.models.data.dataset import Split, UnsplitData
from edgekiln.models.data.sound import Floats, spectra
from edgekiln.models.data.spectrum import Spectrum
from edgekiln.runtime.waves import RATE_HZ

_NORMAL, _TEST_NORMAL, _ANOMALIES = 2000, 250, 250
_WINDOW, _HOP, _FRAMES, _BANDS = 1024, 512, 5, 128  # 64 ms windows every 32 ms
_LENGTH = _WINDOW + _HOP * (_FRAMES - 1)
_HARMONICS = range(1, 9)
_GENERATOR_SEED = 640  # the sounds are always the same; the loader's seed only splits them


def read() -> UnsplitData:
    """(N, 640) log-mel energies in dB; anomalies, y = 1, are in the test part only."""
    random = np.random.default_rng(_GENERATOR_SEED)
    normal = _features(random, _NORMAL + _TEST_NORMAL, broken=False)
    anomalies = _features(random, _ANOMALIES, broken=True)
    # Trained on normal sound alone: the anomalies never meet the training part.
    train, test_normal = np.split(normal, [_NORMAL])
    return UnsplitData(
        classes=("normal", "anomaly"),
        train=Split.of(x=train, y=np.zeros(_NORMAL, np.int64)),
        test=Split.of(
            x=np.concatenate([test_normal, anomalies]),
            y=np.repeat([0, 1], [_TEST_NORMAL, _ANOMALIES]).astype(np.int64),
        ),
        task="reconstruction",
        notes=("hum is synthetic: generated tones and noise, not recorded machines",),
    )


def _features(random: np.random.Generator, count: int, *, broken: bool) -> Floats:
    """A shaft's fundamental with eight harmonics, loud or quiet, in noise.

    A broken one has a bearing's whine between the harmonics, pulsing once a turn.
    """

    def uniform(low: float, high: float) -> Floats:
        return random.uniform(low, high, (count, 1)).astype(np.float32)

    time_s = np.arange(_LENGTH, dtype=np.float32) / RATE_HZ
    turn = 2 * np.pi * uniform(90, 110) * time_s  # angle of the shaft, (count, samples)
    loudness = uniform(0.3, 1.0)
    waves = 0.05 * random.standard_normal((count, _LENGTH), dtype=np.float32)
    for harmonic in _HARMONICS:
        waves += loudness / harmonic * np.sin(harmonic * turn + uniform(0, 2 * np.pi))
    if broken:
        whine = np.sin(2 * np.pi * uniform(2500, 5500) * time_s)
        waves += uniform(0.02, 0.2) * (1 + np.sin(turn)) * whine
    about = Spectrum(window=_WINDOW, fft=_WINDOW, hop=_HOP, bands=_BANDS)
    return spectra(waves, about).reshape(count, _FRAMES * _BANDS)  # frame after frame

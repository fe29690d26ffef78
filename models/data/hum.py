"""Synthetic machine hum for anomaly detection: generated, not recorded.

It has the form of the MLPerf Tiny task (five frames of 128 log-mel bands, trained on normal sound
only) so that the autoencoder can be built and measured without a download. It says nothing about
how well the model finds faults of real machines.
"""

import numpy as np

from edgekiln.models.data.dataset import Source, Split
from edgekiln.models.data.sound import RATE_HZ, Floats, log_mel

_NORMAL, _TEST_NORMAL, _ANOMALIES = 2000, 250, 250
_WINDOW, _HOP, _FRAMES, _BANDS = 1024, 512, 5, 128
_LENGTH = _WINDOW + _HOP * (_FRAMES - 1)
_HARMONICS = np.arange(1, 9)
_GENERATOR_SEED = 640  # the sounds are always the same; the loader's seed only splits them


def read() -> Source:
    """(N, 640) log-mel energies in dB; anomalies, y = 1, are in the test part only."""
    random = np.random.default_rng(_GENERATOR_SEED)
    normal = _features(random, _NORMAL + _TEST_NORMAL, broken=False)
    anomalies = _features(random, _ANOMALIES, broken=True)
    train, test_normal = np.split(normal, [_NORMAL])
    return Source(
        classes=("normal", "anomaly"),
        train=Split(x=train, y=np.zeros(_NORMAL, np.int64)),
        test=Split(
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
    time_s = np.arange(_LENGTH) / RATE_HZ
    turn_hz = random.uniform(90, 110, (count, 1))
    loudness = random.uniform(0.3, 1.0, (count, 1))
    phases = random.uniform(0, 2 * np.pi, (count, len(_HARMONICS)))
    waves = random.normal(0, 0.05, (count, _LENGTH))
    for harmonic, phase in zip(_HARMONICS, phases.T, strict=True):
        angle = 2 * np.pi * harmonic * turn_hz * time_s + phase[:, None]
        waves += loudness / harmonic * np.sin(angle)
    if broken:
        whine_hz = random.uniform(2500, 5500, (count, 1))
        strength = random.uniform(0.02, 0.2, (count, 1))
        pulse = 1 + np.sin(2 * np.pi * turn_hz * time_s)
        waves += strength * pulse * np.sin(2 * np.pi * whine_hz * time_s)
    spectra = log_mel(waves.astype(np.float32), window=_WINDOW, hop=_HOP, bands=_BANDS)
    return spectra.reshape(count, _FRAMES * _BANDS)

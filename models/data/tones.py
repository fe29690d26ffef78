"""Synthetic keywords: generated tone sequences, not speech.

They have the form of MLPerf Tiny's keyword spotting (one second of sound, 49 frames of 10 features,
ten words, silence, unknown) so that DS-CNN can be built and measured without a download. They say
nothing about how well it hears speech.
"""

import numpy as np

from edgekiln.models.data.dataset import Split, UnsplitData
from edgekiln.models.data.sound import Floats, spectra
from edgekiln.models.data.spectrum import Spectrum
from edgekiln.runtime.waves import RATE_HZ

_WORDS = 10
_CLASSES = (*(f"word{number}" for number in range(_WORDS)), "silence", "unknown")
_PER_CLASS = 120
_WINDOW, _HOP, _BANDS = 480, 320, 10  # 30 ms windows every 20 ms: 49 frames in a second
_SYLLABLES = 3
_PITCHES_HZ = (300, 520, 900, 1560, 2700, 4680)
_RANGE_DB = (-15.0, 45.0)  # what the 256 levels of a pixel span
_GENERATOR_SEED = 4910  # the words are always the same; the loader's seed only splits them


def read() -> UnsplitData:
    """(1440, 49, 10, 1): log-mel energies as grey levels."""
    random = np.random.default_rng(_GENERATOR_SEED)
    vocabulary = _vocabulary(random)
    labels = np.repeat(np.arange(len(_CLASSES)), _PER_CLASS)
    waves = np.stack([_wave(random, vocabulary, label) for label in labels.tolist()])
    decibels = spectra(waves, Spectrum(window=_WINDOW, fft=_WINDOW, hop=_HOP, bands=_BANDS))
    low, high = _RANGE_DB
    levels = np.rint((decibels - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
    return UnsplitData(
        classes=_CLASSES,
        train=Split.of(x=levels[..., None], y=labels.astype(np.int64)),
        notes=("tones is synthetic: generated tone sequences, not speech",),
    )


def _vocabulary(random: np.random.Generator) -> list[tuple[int, ...]]:
    """Different sequences of pitches: the words first, the rest for `unknown`."""
    count = len(_PITCHES_HZ)
    numbers = random.permutation(count**_SYLLABLES)
    # Each number's digits, to the base of the pitches.
    return [
        tuple(number // count**place % count for place in range(_SYLLABLES)) for number in numbers
    ]


def _wave(random: np.random.Generator, vocabulary: list[tuple[int, ...]], label: int) -> Floats:
    """One second: a word somewhere in it, each syllable a gliding tone, in noise."""
    noise = random.standard_normal(RATE_HZ, dtype=np.float32)
    wave = noise * np.float32(random.uniform(0.02, 0.3))
    match _CLASSES[label]:
        case "silence":
            return wave
        case "unknown":
            word = vocabulary[random.integers(_WORDS, len(vocabulary))]
        case _:
            word = vocabulary[label]
    length = int(RATE_HZ * random.uniform(0.15, 0.25))  # of a syllable
    begin = random.integers(0, RATE_HZ - length * _SYLLABLES)
    voice = random.uniform(0.9, 1.1)  # a higher or lower speaker
    time_s = np.arange(length) / RATE_HZ
    for pitch in word:
        glide = 1 + random.uniform(-0.3, 0.3) * time_s
        tone = np.sin(2 * np.pi * _PITCHES_HZ[pitch] * voice * glide * time_s)
        wave[begin : begin + length] += random.uniform(0.2, 0.6) * np.hanning(length) * tone
        begin += length
    return wave

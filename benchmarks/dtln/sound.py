"""Recordings of speech with noise on them."""

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.benchmarks.dtln.network import HOP, RATE_HZ

# Of Debian's pocketsphinx-testdata: a book that is read aloud, and the names of playing cards.
BOOK, CARDS = (Path("/usr/share/pocketsphinx/test/data") / name for name in ("librivox", "cards"))
_LOUDER_DB = (0, 10)  # speech than noise
_LARGEST = 32767

Samples = NDArray[np.float32]


def noisy(folder: Path, seed: int) -> Iterator[tuple[str, Samples]]:
    """Each recording of a folder, under white noise, pink noise and the other recordings, each at
    two loudnesses; with a name.
    """
    draw = np.random.default_rng(seed)
    speech = {path.stem: _read(path) for path in sorted(folder.glob("*.wav"))}
    for name, clean in speech.items():
        others = [each for other, each in speech.items() if other != name]
        noises = {
            "white": draw.standard_normal(len(clean)),
            "pink": _pink(draw, len(clean)),
            "voices": sum(
                np.resize(np.roll(each, int(draw.integers(len(each)))), len(clean))
                for each in others
            ),
        }
        for kind, noise in noises.items():
            for louder_db in _LOUDER_DB:
                level = np.sqrt(np.square(clean).mean() / np.square(noise).mean())
                mixed = clean + noise * level * 10 ** (-louder_db / 20)
                yield f"{name}-{kind}-{louder_db}", np.clip(mixed, -1, 1).astype(np.float32)


def write(folder: Path, path: Path, seed: int) -> None:
    """Write the noisy recordings of a folder to another as WAV files."""
    path.mkdir(exist_ok=True)
    for name, samples in noisy(folder, seed):
        with wave.open(str(path / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE_HZ)
            file.writeframes((samples * _LARGEST).astype("<i2").tobytes())


def steps(samples: Samples) -> Samples:
    """What is new in each call: (calls, 1, 128)."""
    return samples[: len(samples) // HOP * HOP].reshape(-1, 1, HOP)


def _read(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        codes = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return codes.astype(np.float32) / np.float32(_LARGEST + 1)


def _pink(draw: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Noise whose power falls as 1/f."""
    spectrum = np.fft.rfft(draw.standard_normal(count))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), count)

"""Short-time spectra of sound: of data sets, and of programs that compute them themselves.

Sources: Davis and Mermelstein, Comparison of Parametric Representations (IEEE TASSP 28, 1980) for
cepstral coefficients; Wang et al., Trainable Frontend for Robust and Far-Field Keyword Spotting
(arXiv:1607.05666, section 2) for per-channel energy normalization, with librosa's scale of energies
and beginning.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.spectrum import Smoothing, Spectrum
from edgekiln.runtime.waves import RATE_HZ

FULL_POWER = 2.0**31  # what per-channel energy normalization multiplies energies by
_TRANSFORMED_AT_ONCE = 1 << 20  # points of Fourier transforms
_SMOOTHED_AT_ONCE = 512  # frames: the matrix that smooths them has as many rows and columns

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def spectra(waves: Floats, about: Spectrum) -> Floats:
    """(N, samples) → (N, frames, numbers): of each frame 10 log10 of the power in each mel band,
    or what `about` says in place of that.

    Frames are Hann windows of `about.window` samples, `about.hop` apart, none of them padded.
    """
    # (N, frames, window), a view: overlapping windows are not copied.
    every = np.lib.stride_tricks.sliding_window_view(waves, about.window, axis=1)
    frames = every[:, :: about.hop]
    out = np.empty((*frames.shape[:2], about.numbers), np.float32)
    for wave, numbers in zip(frames, out, strict=True):
        power = _powers(wave, about)
        if about.smoothing is not None:
            numbers[...] = _normalized(power * FULL_POWER, about, about.smoothing)
            continue
        louder = power + about.floor
        logarithms = np.log(louder) if about.natural else 10 * np.log10(louder)
        numbers[...] = logarithms if about.coefficients is None else logarithms @ cosines(about).T
    return out


def _powers(frames: Floats, about: Spectrum) -> Floats:
    """(frames, window) → (frames, bands), some frames at a time: spectra are far larger."""
    weights, hann = mel_filters(about), hann_window(about)
    powers = np.empty((len(frames), about.bands), np.float32)
    for part in _parts(len(frames), max(1, _TRANSFORMED_AT_ONCE // about.fft)):
        spectrum = np.fft.rfft(frames[part] * hann, n=about.fft)
        powers[part] = (spectrum.real**2 + spectrum.imag**2) @ weights
    return powers


def _parts(count: int, most: int) -> Iterator[slice]:
    return (slice(start, min(start + most, count)) for start in range(0, count, most))


def hann_window(about: Spectrum) -> Floats:
    """(window,), symmetric, or one that goes on periodically."""
    length = about.window
    return np.hanning(length + about.periodic)[:length].astype(np.float32)


def mel_filters(about: Spectrum) -> Floats:
    """(fft // 2 + 1, bands): triangles evenly spaced in mel."""
    low_mel, high_mel = (_mel(hz, about) for hz in (about.low_hz, about.high_hz))
    edges_hz = _hertz(np.linspace(low_mel, high_mel, about.bands + 2), about)
    bins_hz = np.fft.rfftfreq(about.fft, 1 / RATE_HZ)[:, None]
    low, middle, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz - low) / (middle - low)
    falling = (high - bins_hz) / (high - middle)
    filters = np.maximum(0, np.minimum(rising, falling))
    return (filters * (2 / (high - low)) if about.normalized else filters).astype(np.float32)


# Slaney's scale, of his Auditory Toolbox: up to 1 kHz in steps of 200 / 3 Hz, then in steps of a
# ratio: 27 of them are a factor of 6.4.
_STEP_HZ, _BREAK_HZ, _STEP_RATIO = 200 / 3, 1000.0, np.log(6.4) / 27


def _mel(hz: float, about: Spectrum) -> float:
    """HTK's: 2595 log10(1 + f / 700 Hz); or Slaney's."""
    if not about.slaney:
        return float(2595 * np.log10(1 + hz / 700))
    if hz < _BREAK_HZ:
        return hz / _STEP_HZ
    return float(_BREAK_HZ / _STEP_HZ + np.log(hz / _BREAK_HZ) / _STEP_RATIO)


def _hertz(mel: Doubles, about: Spectrum) -> Doubles:
    if not about.slaney:
        return np.asarray(700 * (10 ** (mel / 2595) - 1))
    first = _BREAK_HZ / _STEP_HZ
    above = _BREAK_HZ * np.exp(_STEP_RATIO * (np.maximum(mel, first) - first))
    return np.where(mel < first, mel * _STEP_HZ, above)


def cosines(about: Spectrum) -> Doubles:
    """(coefficients, bands): the orthonormal cosine transform of the second kind."""
    count, bands = about.numbers, about.bands
    turns = np.outer(np.arange(count), 2 * np.arange(bands) + 1) * np.pi / (2 * bands)
    rows = np.cos(turns) * np.sqrt(2 / bands)
    rows[0] /= np.sqrt(2)
    return np.asarray(rows)


def smoothed_by(about: Spectrum, smoothing: Smoothing, frames: int) -> tuple[Doubles, Doubles]:
    """How energies are smoothed, M[t] = (1 - s) M[t - 1] + s E[t], over so many frames.

    Returns: (frames, frames), by which energies are multiplied, and (frames,), by which M[-1] is. A
    sound begins with M[-1] = 1.
    """
    time = smoothing.seconds * RATE_HZ / about.hop
    # As librosa has it: the filter that passes half of the power at 1 / (2 π time).
    s = (np.sqrt(1 + 4 * time**2) - 1) / (2 * time**2)
    ages = np.arange(frames)[:, None] - np.arange(frames)
    weights = np.where(ages >= 0, s * (1 - s) ** np.maximum(ages, 0), 0.0)
    return weights, (1 - s) ** np.arange(1, frames + 1)


def _normalized(energies: Floats, about: Spectrum, smoothing: Smoothing) -> Doubles:
    """Per-channel energy normalization of (frames, bands)."""
    weights, start = smoothed_by(about, smoothing, min(len(energies), _SMOOTHED_AT_ONCE))
    mean, before = np.empty(energies.shape), np.ones(energies.shape[1])
    for part in _parts(len(energies), _SMOOTHED_AT_ONCE):
        size = part.stop - part.start
        mean[part] = weights[:size, :size] @ energies[part] + start[:size, None] * before
        before = mean[part.stop - 1]
    gained = energies * (smoothing.eps + mean) ** -smoothing.gain
    power = smoothing.power
    return np.asarray((gained + smoothing.bias) ** power - smoothing.bias**power)

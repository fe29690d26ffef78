"""Short-time spectra of sound: of data sets, and of programs that compute them themselves."""

import numpy as np
from numpy.typing import NDArray

from edgekiln.runtime.waves import RATE_HZ

WINDOW, HOP = 480, 320  # of `?mel=`: 30 ms every 20 ms, at 16 kHz
SILENCE = 1e-6  # power that is added: -60 dB, and no logarithm of 0

Floats = NDArray[np.float32]


def log_mel(waves: Floats, *, window: int, hop: int, bands: int) -> Floats:
    """(N, samples) → (N, frames, bands): 10 log10 of the power in each mel band.

    Frames are Hann windows of `window` samples, `hop` apart, none of them padded.
    """
    # (N, frames, window), a view: overlapping windows are not copied.
    frames = np.lib.stride_tricks.sliding_window_view(waves, window, axis=1)[:, ::hop]
    weights = mel_filters(window, bands)
    out = np.empty((*frames.shape[:2], bands), np.float32)
    hann = hann_window(window)
    for wave, energies in zip(frames, out, strict=True):  # one at a time: the spectra are large
        spectrum = np.fft.rfft(wave * hann)
        power = spectrum.real**2 + spectrum.imag**2
        energies[...] = 10 * np.log10(power @ weights + SILENCE)
    return out


def hann_window(length: int) -> Floats:
    """(length,), symmetric."""
    return np.hanning(length).astype(np.float32)


def mel_filters(window: int, bands: int) -> Floats:
    """(window // 2 + 1, bands): triangles evenly spaced in mel = 2595 log10(1 + f / 700 Hz)."""
    top = 2595 * np.log10(1 + RATE_HZ / 2 / 700)
    edges_hz = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins_hz = np.fft.rfftfreq(window, 1 / RATE_HZ)[:, None]
    low, middle, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz - low) / (middle - low)
    falling = (high - bins_hz) / (high - middle)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)

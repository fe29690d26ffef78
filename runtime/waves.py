"""Sound in WAV files: PCM of 8 to 32 bits, and what programs that hear take of it."""

import io
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.errors import InputError
from edgekiln.runtime.limits import INPUTS, Limit, read_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

WAVE_SUFFIX = ".wav"
RATE_HZ = 16000  # of the sounds that mel bands are made of
_BITS = 16  # of what programs take


@dataclass(frozen=True, kw_only=True)
class Sound:
    """The content of a WAV file; `mean` is (samples,), the channels' mean, in steps of the file's
    own.
    """

    rate_hz: int
    bits: int
    mean: "NDArray[np.float64]"


def read_sound(path: Path, limit: Limit) -> Sound:
    """All of a file.

    Raises:
        InputError: larger than `limit`, damaged, not PCM, or empty.
    """
    content = read_file(path, limit, hint="give a WAV file")
    try:
        with wave.open(io.BytesIO(content)) as sound:
            about = sound.getparams()
            raw = sound.readframes(about.nframes)
    except (wave.Error, EOFError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path}: no WAV file of PCM: {error or 'it is cut short'}", hint="convert it to PCM"
        ) from error
    width, channels = about.sampwidth, about.nchannels
    if width not in (1, 2, 3, 4):
        raise InputError(f"{path}: samples of {8 * width} bits", hint="convert it to 16 bits")
    # A file that was cut short may end inside a sample.
    whole = len(raw) // (width * channels) * width * channels
    if not whole:
        raise InputError(f"{path}: is empty", hint="leave it out, or record it again")
    numbers = _integers(np.frombuffer(raw[:whole], np.uint8).reshape(-1, width))
    return Sound(
        rate_hz=about.framerate, bits=8 * width, mean=numbers.reshape(-1, channels).mean(axis=1)
    )


def read_windows(path: Path, count: int, rate_hz: int) -> "NDArray[np.int16]":
    """A file as a program takes it: (N, count) samples of 16 bits, window behind window, with
    silence behind the last.

    Raises:
        InputError: as `read_sound`, or another rate than the program's.
    """
    sound = read_sound(path, INPUTS)
    if sound.rate_hz != rate_hz:
        raise InputError(
            f"{path}: has {sound.rate_hz} samples a second, the program takes {rate_hz}",
            hint=f"resample it: ffmpeg -i {path.name} -ar {rate_hz} resampled.wav",
        )
    levels = np.rint(sound.mean * 2.0 ** (_BITS - sound.bits))
    windows = np.zeros((-(-len(levels) // count), count), np.int16)
    # Of more bits, the largest would be rounded up beyond what 16 bits hold.
    windows.reshape(-1)[: len(levels)] = np.minimum(levels, 2 ** (_BITS - 1) - 1)
    return windows


def _integers(samples: "NDArray[np.uint8]") -> "NDArray[np.int32]":
    """(samples, bytes) little-endian → (samples,); bytes alone are offset by 128."""
    width = samples.shape[1]
    if width == 1:
        return samples[:, 0].astype(np.int32) - 128
    # At the top of a word, from where an arithmetic shift spreads the sign.
    words = np.zeros((len(samples), 4), np.uint8)
    words[:, 4 - width :] = samples
    shifted: NDArray[np.int32] = words.reshape(-1).view(np.int32) >> (8 * (4 - width))
    return shifted

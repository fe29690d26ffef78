"""Sound in WAV files, cut into frames: PCM of 8 to 32 bits, channels mixed into one."""

import io
import os
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.limits import DATA
from edgekiln.models.data.options import Options
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.limits import read_file

SUFFIX = ".wav"
STREAM_STEPS = 32  # frames of a stream, unless the options say how many

Floats = NDArray[np.float32]


def files_in(folder: Path) -> list[Path]:
    """The WAV files that lie in a folder itself, by name."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".")]
    return [folder / name for name in sorted(names) if is_wave(Path(name))]


def is_wave(path: Path) -> bool:
    """Whether a file's name says so, in small letters or capitals."""
    return path.suffix.lower() == SUFFIX


def read(path: Path, rate_hz: int | None) -> Floats:
    """All of a file: (samples,), from -1 up to 1.

    Raises:
        InputError: as `read_any`, or of another sampling rate than `rate_hz`.
    """
    rate, sound = read_any(path)
    if rate_hz is not None and rate != rate_hz:
        raise InputError(
            f"{path}: {rate} samples a second, not the {rate_hz} of ?rate",
            hint="resample the files to the model's own rate",
        )
    return sound


def read_any(path: Path) -> tuple[int, Floats]:
    """Samples a second, and all of them: (samples,), from -1 up to 1, the channels' mean.

    Raises:
        InputError: damaged, not PCM, or empty.
    """
    content = read_file(path, DATA, hint="give a WAV file")
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
    mixed = numbers.reshape(-1, channels).mean(axis=1) / 2.0 ** (8 * width - 1)
    return about.framerate, np.asarray(mixed, np.float32)


def _integers(samples: NDArray[np.uint8]) -> NDArray[np.int32]:
    """(samples, bytes) little-endian → (samples,); bytes alone are offset by 128."""
    width = samples.shape[1]
    if width == 1:
        return samples[:, 0].astype(np.int32) - 128
    # At the top of a word, from where an arithmetic shift spreads the sign.
    words = np.zeros((len(samples), 4), np.uint8)
    words[:, 4 - width :] = samples
    shifted: NDArray[np.int32] = words.reshape(-1).view(np.int32) >> (8 * (4 - width))
    return shifted


def frames(files: Sequence[Path], frame: int, options: Options, *, streams: bool) -> Floats:
    """All frames of the files, (N, frame); or the streams that they make, (N, T, frame), whose T
    frames follow each other. What is left at the end of a file is dropped.

    Args:
        frame: samples that a call takes; 0: the options say how many.

    Raises:
        InputError: as `read`, no size of a frame, or files that are too short.
    """
    size = options.frame or frame
    hop = options.hop or size
    if not size:
        raise InputError(
            f"{files[0].parent}: nothing says how many samples a frame has",
            hint="say it: 'PATH?frame=512'",
        )
    steps = options.steps or STREAM_STEPS
    found = []
    for file in files:
        sound = read(file, options.rate)
        if len(sound) < size:
            continue
        cut = np.lib.stride_tricks.sliding_window_view(sound, size)[::hop]
        if streams:
            count = len(cut) // steps
            cut = cut[: count * steps].reshape(count, steps, size)
        found.append(cut)
        # Still views of the sound: where frames overlap, joining them multiplies its size.
        DATA.check(sum(each.size for each in found) * 4, str(file.parent), "?limit=1000")
    if not sum(map(len, found)):
        what = f"{steps} frames" if streams else "a frame"
        raise InputError(
            f"{files[0].parent}: no file is as long as {what} of {size} samples",
            hint="give longer files, or shorter streams: ?steps=8",
        )
    return np.concatenate(found)

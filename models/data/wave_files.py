"""Sound in WAV files, cut into frames: PCM of 8 to 32 bits, channels mixed into one."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.limits import DATA
from edgekiln.models.data.options import Options
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.waves import WAVE_SUFFIX, read_sound

STREAM_STEPS = 32  # frames of a stream, unless the options say how many

Floats = NDArray[np.float32]


def files_in(folder: Path) -> list[Path]:
    """The WAV files that lie in a folder itself, by name."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".")]
    return [folder / name for name in sorted(names) if is_wave(Path(name))]


def is_wave(path: Path) -> bool:
    """Whether a file's name says so, in small letters or capitals."""
    return path.suffix.lower() == WAVE_SUFFIX


def read(path: Path, rate_hz: int | None) -> Floats:
    """All of a file: (samples,), from -1 up to 1.

    Raises:
        InputError: as `read_any`, or of another sampling rate than `rate_hz`.
    """
    rate, sound = read_any(path)
    check_rate(path, rate, rate_hz)
    return sound


def check_rate(path: Path, rate_hz: int, wanted_hz: int | None) -> None:
    """Raises InputError: the file's rate is not the one that the options say."""
    if wanted_hz is not None and rate_hz != wanted_hz:
        raise InputError(
            f"{path}: {rate_hz} samples a second, not the {wanted_hz} of ?rate",
            hint="resample the files to the model's own rate",
        )


def read_any(path: Path) -> tuple[int, Floats]:
    """Samples a second, and all of them: (samples,), from -1 up to 1, the channels' mean.

    Raises:
        InputError: damaged, not PCM, or empty.
    """
    sound = read_sound(path, DATA)
    return sound.rate_hz, np.asarray(sound.mean / 2.0 ** (sound.bits - 1), np.float32)


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
            hint="say it: 'PATH?frame=512'; sounds to be told apart lie in one folder a class: "
            "PATH/yes/1.wav",
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

"""Sound in WAV files: PCM of 8 to 32 bits, and what programs that hear take of it."""

import struct
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
_FORM = struct.Struct("<HHIIHH")  # tag, channels, rate, bytes a second, bytes a block, bits
_PCM, _EXTENSIBLE = 1, 0xFFFE
_TAG_BEHIND = 24  # where an extensible form says which it is: the first bytes of a GUID
_OTHERS = {3: "its samples are floats", 6: "its samples are A-law", 7: "its samples are mu-law"}


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
        form, raw = _form_and_samples(content)
    except ValueError as error:
        raise InputError(
            f"{path}: no WAV file of PCM: {error}",
            hint=f"convert it: ffmpeg -i {path.name} -c:a pcm_s16le converted.wav",
        ) from error
    # A file that was cut short may end inside a sample.
    whole = len(raw) // form.block * form.block
    if not whole:
        raise InputError(f"{path}: is empty", hint="leave it out, or record it again")
    numbers = _integers(np.frombuffer(raw[:whole], np.uint8).reshape(-1, form.width))
    return Sound(
        rate_hz=form.rate_hz,
        bits=8 * form.width,
        mean=numbers.reshape(-1, form.channels).mean(axis=1),
    )


@dataclass(frozen=True)
class _SampleForm:
    """What a file says of its samples."""

    channels: int
    rate_hz: int
    width: int  # bytes of a sample

    @property
    def block(self) -> int:
        """The bytes of one sample of every channel."""
        return self.channels * self.width


def _form_and_samples(content: bytes) -> tuple[_SampleForm, bytes]:
    """A file's samples, and how they are written. Microsoft's "Multiple Channel Audio Data and
    WAVE Files": chunks of a name, a size and as many bytes, and one more where these are odd.

    Raises:
        ValueError: why it has none, in words.
    """
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise ValueError("it does not begin as one")
    form, at = None, 12
    while at + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        # Whoever writes to a pipe knows no size, and leaves the largest.
        part = content[at + 8 : at + 8 + size]
        if name == b"fmt ":
            form = _form(part)
        elif name == b"data":
            if form is None:
                raise ValueError("its samples stand before their form")
            return form, part
        at += 8 + size + size % 2
    raise ValueError("it has no samples, or is cut short")


def _form(chunk: bytes) -> _SampleForm:
    """What the chunk "fmt " says. Raises ValueError: not whole numbers of 1 to 4 bytes."""
    if len(chunk) < _FORM.size:
        raise ValueError("it is cut short")
    tag, channels, rate_hz, _, block, bits = _FORM.unpack_from(chunk)
    if tag == _EXTENSIBLE and len(chunk) >= _TAG_BEHIND + 2:
        (tag,) = struct.unpack_from("<H", chunk, _TAG_BEHIND)
    if tag != _PCM:
        raise ValueError(_OTHERS.get(tag, f"its samples have the form {tag:#x}"))
    width = -(-bits // 8)
    if not channels or not 1 <= width <= 4:
        raise ValueError(f"it has {channels} channels of {bits} bits")
    if block not in (0, channels * width):  # some writers leave it out
        raise ValueError(f"{channels} channels of {bits} bits do not fill blocks of {block} bytes")
    return _SampleForm(channels=channels, rate_hz=rate_hz, width=width)


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

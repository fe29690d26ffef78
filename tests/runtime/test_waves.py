"""WAV files as the input of programs that hear."""

import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from edgekiln.runtime.errors import InputError
from edgekiln.runtime.inputs import load_input
from edgekiln.runtime.manifest import TensorSpec
from edgekiln.runtime.waves import RATE_HZ, read_windows

HEARS = TensorSpec(name="pcm", shape=(1, 100), dtype="int16", rate_hz=RATE_HZ)


def write(
    path: Path, levels: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]", *, width: int = 2,
    rate: int = RATE_HZ,
) -> Path:  # fmt: skip
    """A file of `levels`, (samples,) or (samples, channels), in samples of `width` bytes."""
    offset = 128 if width == 1 else 0
    raw = (levels + offset).astype("<i8").reshape(-1, 1).view(np.uint8)[:, :width]
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1 if levels.ndim == 1 else levels.shape[1])
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(np.ascontiguousarray(raw).tobytes())
    return path


def test_samples_of_16_bits_are_taken_as_they_are(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(-32768, 32768, 100)
    found = load_input(write(tmp_path / "a.WAV", levels), HEARS)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, levels[None])


def test_a_longer_sound_is_cut_into_windows_with_silence_behind_the_last(tmp_path: Path) -> None:
    levels = np.arange(1, 251)
    found = load_input(write(tmp_path / "a.wav", levels), HEARS)
    assert found.shape == (3, 100)
    np.testing.assert_array_equal(found.reshape(-1)[:250], levels)
    assert not found.reshape(-1)[250:].any()


@pytest.mark.parametrize("width", [1, 3, 4])
def test_samples_of_other_widths_are_rounded_to_16_bits(tmp_path: Path, width: int) -> None:
    top = 2 ** (8 * width - 1)
    levels = np.array([-top, -1, 0, 1, top - 1])
    (found,) = read_windows(write(tmp_path / "a.wav", levels, width=width), 5, RATE_HZ)
    exact = np.rint(levels * 2.0 ** (16 - 8 * width)).clip(-32768, 32767)
    np.testing.assert_array_equal(found, exact)


def test_channels_are_mixed_by_their_mean(tmp_path: Path) -> None:
    levels = np.array([[10, 20], [3, 4], [-5, -6], [32767, 32767]])
    (found,) = read_windows(write(tmp_path / "a.wav", levels), 4, RATE_HZ)
    np.testing.assert_array_equal(found, [15, 4, -6, 32767])  # halves to even


def test_sound_of_another_rate_is_refused_with_the_way_to_mend_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.arange(100), rate=44100)
    with pytest.raises(
        InputError, match="44100 samples a second, the program takes 16000"
    ) as error:
        load_input(path, HEARS)
    assert error.value.hint == "resample it: ffmpeg -i a.wav -ar 16000 resampled.wav"


def test_an_input_that_is_no_sound_takes_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.arange(100))
    for dtype in ("int16", "float32"):
        with pytest.raises(InputError, match="does not say that it is sound") as error:
            load_input(path, TensorSpec(name="x", shape=(1, 100), dtype=dtype))
        assert "--before pcm" in (error.value.hint or "")


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVEfmt ", b"\0" * 100])
def test_what_is_no_sound_is_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.wav: no WAV file of PCM"):
        load_input(path, HEARS)


def written(path: Path, form: bytes, *chunks: tuple[bytes, bytes]) -> Path:
    """A file of chunks, behind what says how its samples are written."""
    whole = b"".join(
        name + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2)
        for name, part in ((b"fmt ", form), *chunks)
    )
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(whole)) + b"WAVE" + whole)
    return path


def form_of(tag: int, bits: int, block: int, subtype: int = 0) -> bytes:
    plain = struct.pack("<HHIIHH", tag, 1, RATE_HZ, RATE_HZ * block, block, bits)
    guid = bytes.fromhex("000000001000800000aa00389b71")
    return plain + (struct.pack("<HHIH", 22, bits, 4, subtype) + guid) * bool(subtype)


@pytest.mark.parametrize("width", [2, 3, 4])
def test_an_extensible_form_is_pcm_where_it_says_so(tmp_path: Path, width: int) -> None:
    """As ffmpeg writes all of more than 16 bits."""
    levels = np.array([-32768, -1, 0, 1, 300, 32767])
    raw = b"".join(
        int(level << 8 * (width - 2)).to_bytes(width, "little", signed=True) for level in levels
    )
    form = form_of(0xFFFE, 8 * width, width, subtype=1)
    path = written(tmp_path / "a.wav", form, (b"LIST", b"odd"), (b"data", raw))
    np.testing.assert_array_equal(read_windows(path, 6, RATE_HZ), levels[None])


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (form_of(1, 24, 4), "1 channels of 24 bits do not fill blocks of 4 bytes"),
        (form_of(1, 64, 8), "1 channels of 64 bits"),
        (form_of(3, 32, 4), "its samples are floats"),
        (form_of(0xFFFE, 32, 4, subtype=3), "its samples are floats"),
        (form_of(7, 8, 1), "its samples are mu-law"),
        (form_of(0x55, 0, 1), "its samples have the form 0x55"),
        (form_of(1, 16, 2)[:10], "it is cut short"),
    ],
)
def test_what_is_no_pcm_is_refused_with_the_reason(tmp_path: Path, form: bytes, words: str) -> None:
    path = written(tmp_path / "a.wav", form, (b"data", b"\1\2\3\4" * 20))
    with pytest.raises(InputError, match=f"no WAV file of PCM: .*{words}") as error:
        load_input(path, HEARS)
    assert error.value.hint == "convert it: ffmpeg -i a.wav -c:a pcm_s16le converted.wav"


def test_a_file_that_says_nothing_is_told_why(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF\0\0\0\0WAVEfmt ")
    with pytest.raises(InputError, match="it has no samples, or is cut short"):
        load_input(path, HEARS)

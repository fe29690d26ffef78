"""Sound in WAV files: how it is read, and cut into frames and streams."""

import random
import wave
from pathlib import Path

import numpy as np
import pytest

from edgekiln.models import data
from edgekiln.models.data import wave_files
from edgekiln.models.data.unlabelled import fingerprint
from edgekiln.runtime.errors import ConfigError, InputError


def write(path: Path, sound: np.ndarray, *, width: int = 2, rate: int = 16000) -> Path:
    """Samples from -1 up to 1, (T,) or (T, channels)."""
    top = 2.0 ** (8 * width - 1)
    numbers = np.clip(np.rint(sound * top), -top, top - 1).astype(np.int64)
    if width == 1:
        numbers += 128
    words = numbers.reshape(-1, 1).view(np.uint8).reshape(-1, 8)[:, :width]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(sound.shape[1] if sound.ndim > 1 else 1)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(words.tobytes())
    return path


def tone(count: int) -> np.ndarray:
    return np.sin(np.arange(count) / 7) * 0.5


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_samples_of_each_width_are_the_same_sound(tmp_path, width):
    found = wave_files.read(write(tmp_path / "s.wav", tone(500), width=width), None)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tone(500), atol=1.5 / 2.0 ** (8 * width - 1) + 1e-6)


def test_channels_are_mixed(tmp_path):
    left, right = tone(300), np.full(300, 0.25)
    found = wave_files.read(write(tmp_path / "s.wav", np.stack([left, right], 1)), 16000)
    np.testing.assert_allclose(found, (left + right) / 2, atol=1e-4)


def test_a_folder_is_cut_into_frames_and_streams(tmp_path):
    for place, count in enumerate((2300, 900, 40)):
        write(tmp_path / f"{place}.wav", tone(count))
    assert data.is_unlabelled(str(tmp_path))
    frames = data.load_samples(f"{tmp_path}?hop=50", 0, frame=100)
    assert frames.arrays[""].shape == (45 + 17, 100)
    streams = data.load_samples(f"{tmp_path}?hop=50&steps=8", 0, frame=100, streams=True)
    assert streams.arrays[""].shape == (5 + 2, 8, 100)
    first = streams.arrays[""][0]
    np.testing.assert_array_equal(first[1, :50], first[0, 50:])


def test_a_file_alone_is_samples_too(tmp_path):
    path = write(tmp_path / "s.wav", tone(1000))
    assert data.load_samples(f"{path}?frame=64&rate=16000", 0).arrays[""].shape == (15, 64)
    before = fingerprint(str(path))
    write(path, tone(1001))
    assert fingerprint(str(path)) != before


def test_arrays_are_cut_into_streams_where_they_are_none(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(50, dtype=np.float32).reshape(25, 2))
    found = data.load_samples(f"{tmp_path / 'x.npy'}?steps=6", 0)
    np.testing.assert_array_equal(found.arrays[""][1, 0], [12, 13])
    assert found.arrays[""].shape == (4, 6, 2)
    with pytest.raises(InputError, match="no stream of 26"):
        data.load_samples(f"{tmp_path / 'x.npy'}?steps=26", 0)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ("frame=64&rate=8000", InputError, "16000 samples a second, not the 8000 of \\?rate"),
        ("frame=5000", InputError, "no file is as long as a frame of 5000 samples"),
        ("hop=1", InputError, "nothing says how many samples a frame has"),
        ("frame=0", ConfigError, "data option frame=0: does not fit"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, options, kind, message):
    path = write(tmp_path / "s.wav", tone(1000))
    with pytest.raises(kind, match=message):
        data.load_samples(f"{path}?{options}", 0)


def test_another_file_is_no_sound(tmp_path):
    (tmp_path / "s.wav").write_bytes(b"RIFF\x04\0\0\0WAVEjunk")
    with pytest.raises(InputError, match="no WAV file of PCM"):
        data.load_samples(f"{tmp_path / 's.wav'}?frame=10", 0)


def test_damaged_files_are_read_or_refused_by_name(tmp_path):
    """Numbers of the header at any place, bytes anywhere, ends that are lost."""
    path = write(tmp_path / "s.wav", tone(400), width=2)
    content, draw = path.read_bytes(), random.Random(0)
    messages: list[str] = []
    for _ in range(400):
        changed = bytearray(content)
        place = draw.randrange(60)
        number = draw.choice((0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
        changed[place : place + 4] = number.to_bytes(4, "little")
        path.write_bytes(changed[: draw.choice((len(changed), draw.randrange(len(changed))))])
        try:
            assert np.isfinite(wave_files.read(path, None)).all()
        except InputError as error:
            messages.append(error.message)
    assert 100 < len(messages) < 400
    assert all(str(path) in message for message in messages)

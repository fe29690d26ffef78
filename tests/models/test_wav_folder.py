"""Folders of WAV files, and transforms of a user's own."""

import wave

import numpy as np
import pytest
import torch

from edgekiln.models import data
from edgekiln.models.interface import outputs_of_one
from edgekiln.runtime.errors import ConfigError, InputError


def write(path, numbers, *, rate=16000, channels=1, width=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(np.asarray(numbers).tobytes())


@pytest.fixture
def words(tmp_path):
    """Low and high tones, each of another length."""
    time_s = np.arange(8000) / 16000
    for place, name in enumerate(("low", "high")):
        for number in range(15):
            tone = np.sin(2 * np.pi * (300 + 1500 * place + number) * time_s)
            write(tmp_path / name / f"{number}.wav", (tone * 16384)[: 7900 + number].astype("<i2"))
    return tmp_path


def test_folders_are_classes_and_sounds_are_of_one_length(words):
    loaded = data.load(f"{words}?seconds=0.5")
    assert loaded.classes == ("high", "low")
    assert loaded.train.x.shape[1:] == (8000,)
    assert 0.45 < np.abs(loaded.train.x).max() <= 0.5
    crossings = (np.diff(np.signbit(loaded.train.x), axis=1)).sum(axis=1)
    assert ((crossings > 1000) == (loaded.train.y == 0)).all()


def test_files_in_capitals_are_sounds_like_all_others(words):
    count = len(data.load(f"{words}?seconds=0.5").train.x)
    for file in list(words.rglob("*.wav"))[::2]:
        file.rename(file.with_suffix(".WAV"))
    assert len(data.load(f"{words}?seconds=0.5").train.x) == count


def test_spectra_are_taken_in_place_of_waves(words):
    loaded = data.load(f"{words}?seconds=0.5&mel=10")
    assert loaded.train.x.shape[1:] == (1, 24, 10)
    bands = loaded.train.x.mean(axis=(1, 2)).argmax(axis=1)
    assert bands[loaded.train.y == 0].min() > bands[loaded.train.y == 1].max()


def test_a_transform_of_ones_own_is_called_on_each_sample(words, monkeypatch):
    (words / "own_transform.py").write_text(
        "import numpy as np\n"
        "def loudness(x, parts=4): return np.abs(x).reshape(parts, -1).mean(axis=1)\n"
        "def uneven(x): return x[: 10 + int(x[100] > 0)]\n"
        "def broken(x): raise ValueError('no')\n"
    )
    monkeypatch.chdir(words)
    loaded = data.load(f"{words}?seconds=0.5&transform=own_transform:loudness")
    assert loaded.train.x.shape[1:] == (4,)
    with pytest.raises(InputError, match=r"raised ValueError on sample 0 of shape \(8000,\): no"):
        data.load(f"{words}?seconds=0.5&transform=own_transform:broken")
    with pytest.raises(InputError, match="gave float32"):
        data.load(f"{words}?seconds=0.5&transform=own_transform:uneven")


@pytest.mark.parametrize("width", [1, 2, 4])
def test_every_width_is_read_and_channels_are_mixed(tmp_path, width):
    full = {1: 128, 2: 2**15, 4: 2**31}[width]
    kind = {1: "u1", 2: "<i2", 4: "<i4"}[width]
    left, right = np.full(50, 0.5), np.full(50, -0.25)
    for name in ("a", "b"):
        for number in range(8):
            stereo = np.stack([left, right * (number % 2)], axis=1) * full + (width == 1) * 128
            path = tmp_path / name / f"{number}.wav"
            write(path, stereo.astype(kind), channels=2, width=width)
    x = data.load(str(tmp_path)).train.x
    assert set(np.unique(x.round(2)).tolist()) == {np.float32(0.25), np.float32(0.12)}


def test_lengths_rates_and_damage_are_named(words):
    with pytest.raises(InputError) as caught:
        data.load(str(words))
    assert "lasts 0.4938" in caught.value.message
    assert caught.value.hint == "cut or fill up all of them: add ?seconds=1"
    write(words / "high" / "x.wav", np.zeros(100, "<i2"), rate=8000)
    with pytest.raises(InputError, match="has 8000 samples a second"):
        data.load(f"{words}?seconds=1")
    (words / "high" / "x.wav").write_bytes(b"RIFF....WAVE")
    with pytest.raises(InputError, match=r"x\.wav: no WAV file of PCM"):
        data.load(f"{words}?seconds=1")


def test_a_class_that_is_only_tested_is_named_and_not_left_out(tmp_path):
    for part, name in (("train", "low"), ("train", "high"), ("test", "low"), ("test", "noise")):
        for number in range(3):
            write(tmp_path / part / name / f"{number}.wav", np.zeros(800, "<i2"))
    with pytest.raises(InputError, match=r"test: class noise is in the test part only") as caught:
        data.load(str(tmp_path))
    assert caught.value.hint == f"add training sounds of it to {tmp_path / 'train'}"


def test_a_sound_shorter_than_a_window_is_refused(words):
    with pytest.raises(InputError, match=r"sounds of 0\.001 s are too short") as caught:
        data.load(f"{words}?mel=10&seconds=0.001")
    assert caught.value.hint == "give 0.03 s or more: ?seconds=1"
    with pytest.raises(InputError, match="are too short"):
        data.load(f"{words}?seconds=0.00001")


def test_spectra_larger_than_a_data_set_may_be_are_refused_unmade(words, monkeypatch):
    monkeypatch.setenv("EDGEKILN_MAX_DATA_BYTES", str(2 << 20))  # waves alone have 0.9 MiB
    with pytest.raises(InputError, match="a data set may have 2097152") as caught:
        data.load(f"{words}?seconds=0.5&mel=40&hop=8")
    assert "give a longer hop than 8" in caught.value.hint


def test_there_are_no_more_bands_than_frequencies(words):
    assert data.load(f"{words}?seconds=0.1&mel=241").train.x.shape[-1] == 241
    assert data.load(f"{words}?seconds=0.1&mfcc=5&mel=9").train.x.shape[-1] == 5
    assert data.load(f"{words}?seconds=0.1&mel=9&pcen=true").train.x.shape[-1] == 9
    with pytest.raises(ConfigError, match="mel=1000000: more bands than") as caught:
        data.load(f"{words}?seconds=0.1&mel=1000000")
    assert caught.value.hint == "give at most 241; 40 are usual"


def test_waves_for_a_network_of_pictures_are_told_to_become_spectra(words):
    net = torch.nn.Conv2d(1, 4, 3)
    with pytest.raises(InputError) as caught:
        outputs_of_one(net, data.load(f"{words}?seconds=1"), "net")
    assert f"'{words}?mel=40'" in caught.value.hint


def test_a_folder_without_classes_is_told_how_classes_lie(words):
    with pytest.raises(InputError) as caught:
        data.load_samples(str(words / "low"), 0)
    assert "PATH/yes/1.wav" in caught.value.hint

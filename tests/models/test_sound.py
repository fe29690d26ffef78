"""The synthetic sound sets."""

import numpy as np
import pytest

from edgekiln.models import data
from edgekiln.models.data.sound import RATE_HZ, log_mel


def test_a_tone_is_loudest_in_the_mel_band_it_lies_in():
    time_s = np.arange(RATE_HZ) / RATE_HZ
    for hz in (300.0, 1000.0, 4000.0):
        wave = np.sin(2 * np.pi * hz * time_s).astype(np.float32)[None]
        energies = log_mel(wave, window=1024, hop=512, bands=40)
        edges_mel = np.linspace(0, 2595 * np.log10(1 + RATE_HZ / 2 / 700), 42)
        centres_hz = 700 * (10 ** (edges_mel[1:-1] / 2595) - 1)
        nearest = np.abs(centres_hz - hz).argmin()
        assert abs(int(energies[0].mean(0).argmax()) - nearest) <= 1


@pytest.mark.parametrize("name", ["hum", "tones"])
def test_a_synthetic_set_says_so_and_is_always_the_same(name):
    first, again = data.load(name), data.load(name)
    assert "synthetic" in first.notes[0]
    assert first.fingerprint == again.fingerprint


def test_hum_trains_on_normal_sound_only():
    hum = data.load("hum")
    assert hum.task == "reconstruction"
    assert hum.input_shape == (640,)
    for split in (hum.train, hum.val, hum.calib):
        assert not split.y.any()
    assert np.bincount(hum.test.y).tolist() == [250, 250]


def test_tones_has_the_form_of_mlperf_tiny_keywords():
    tones = data.load("tones")
    assert tones.input_shape == (1, 49, 10)
    assert len(tones.classes) == 12

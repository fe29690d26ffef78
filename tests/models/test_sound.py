"""The synthetic sound sets."""

import numpy as np
import pytest

from edgekiln.models import data
from edgekiln.models.data import anomaly_sound, tones
from edgekiln.models.data.sound import spectra
from edgekiln.models.data.spectrum import Spectrum
from edgekiln.runtime.waves import RATE_HZ


def test_a_tone_is_loudest_in_the_mel_band_it_lies_in():
    time_s = np.arange(RATE_HZ) / RATE_HZ
    for hz in (300.0, 1000.0, 4000.0):
        wave = np.sin(2 * np.pi * hz * time_s).astype(np.float32)[None]
        energies = spectra(wave, Spectrum(window=1024, fft=1024, hop=512, bands=40))
        edges_mel = np.linspace(0, 2595 * np.log10(1 + RATE_HZ / 2 / 700), 42)
        centres_hz = 700 * (10 ** (edges_mel[1:-1] / 2595) - 1)
        nearest = np.abs(centres_hz - hz).argmin()
        assert abs(int(energies[0].mean(0).argmax()) - nearest) <= 1


@pytest.mark.parametrize("reader", [anomaly_sound, tones])
def test_a_synthetic_set_says_so_and_is_always_the_same(reader):
    first, again = reader.read(), reader.read()
    assert "synthetic" in first.notes[0]
    assert np.array_equal(first.train.x, again.train.x)


def test_hum_trains_on_normal_sound_only():
    machine = data.load("hum")
    assert machine.task == "reconstruction"
    assert machine.input_shape == (640,)
    for split in (machine.train, machine.val, machine.calib):
        assert not split.y.any()
    assert np.bincount(machine.test.y).tolist() == [250, 250]


def test_tones_has_the_form_of_mlperf_tiny_keywords():
    words = data.load("tones")
    assert words.input_shape == (1, 49, 10)
    assert len(words.classes) == 12

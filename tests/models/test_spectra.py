"""What is computed of sound, against librosa."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.models.data.options import parse
from edgekiln.models.data.sound import FULL_POWER, hann_window, spectra
from edgekiln.models.data.spectrum import Smoothing, Spectrum
from edgekiln.models.spec import split
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.waves import RATE_HZ

librosa = pytest.importorskip("librosa", reason="librosa is not installed")


@st.composite
def about(draw: st.DrawFn) -> Spectrum:
    fft = draw(st.sampled_from([256, 400, 512, 480]))
    window = draw(st.integers(fft // 2, fft))
    bands = draw(st.integers(2, 48))
    smoothing = draw(st.booleans())
    low = draw(st.sampled_from([0.0, 20.0, 300.0, 1200.0]))
    return Spectrum(
        bands=bands, window=window, fft=fft, hop=draw(st.integers(40, 400)), low_hz=low,
        high_hz=low + draw(st.sampled_from([2000.0, 4000.0, 6800.0])),
        slaney=draw(st.booleans()), normalized=draw(st.booleans()), periodic=draw(st.booleans()),
        natural=draw(st.booleans()),
        coefficients=None if smoothing else draw(st.none() | st.integers(1, bands)),
        smoothing=Smoothing(
            gain=draw(st.sampled_from([0.98, 0.5])), bias=draw(st.sampled_from([2.0, 10.0])),
            power=draw(st.sampled_from([0.5, 0.25])), eps=draw(st.sampled_from([1e-6, 1e-3])),
            seconds=draw(st.sampled_from([0.4, 0.06])),
        ) if smoothing else None,
    )  # fmt: skip


def librosas(wave: np.ndarray, about: Spectrum) -> np.ndarray:
    """(frames, numbers), by librosa's own functions."""
    # librosa puts the window into the middle of the transform's frame, others at its beginning: of
    # the power it is the same, and of the sound so many samples.
    margin = (about.fft - about.window) // 2
    padded = np.pad(wave, (margin, about.fft))
    window = np.hanning(about.window) if not about.periodic else "hann"
    stft = librosa.stft(
        padded, n_fft=about.fft, hop_length=about.hop, win_length=about.window, window=window,
        center=False,
    )[:, : about.frames(len(wave))]  # fmt: skip
    filters = librosa.filters.mel(
        sr=RATE_HZ, n_fft=about.fft, n_mels=about.bands, fmin=about.low_hz, fmax=about.high_hz,
        htk=not about.slaney, norm="slaney" if about.normalized else None, dtype=np.float64,
    )  # fmt: skip
    energies = filters @ np.abs(stft) ** 2
    if (by := about.smoothing) is not None:
        return librosa.pcen(
            energies * FULL_POWER, sr=RATE_HZ, hop_length=about.hop, gain=by.gain, bias=by.bias,
            power=by.power, time_constant=by.seconds, eps=by.eps,
        ).T  # fmt: skip
    louder = energies + about.floor
    logs = np.log(louder) if about.natural else librosa.power_to_db(louder, amin=1e-30, top_db=None)
    if about.coefficients is None:
        return logs.T
    return librosa.feature.mfcc(S=logs, n_mfcc=about.coefficients, dct_type=2, norm="ortho").T


@pytest.mark.filterwarnings("ignore:Empty filters")
@given(about(), st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_spectra_are_librosas(about: Spectrum, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wave = (rng.normal(0, 10 ** rng.uniform(-4, -0.5), 4000)).astype(np.float32)
    found = spectra(wave[None], about)[0]
    wanted = librosas(wave.astype(np.float64), about)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-3)


def test_a_long_sound_with_a_tiny_hop_takes_no_matrix_of_all_frames() -> None:
    about = Spectrum(bands=2, window=64, fft=64, hop=1, smoothing=Smoothing(seconds=0.06))
    wave = np.random.default_rng(3).normal(0, 0.1, (1, 40_000)).astype(np.float32)
    tracemalloc.start()
    found = spectra(wave, about)[0]
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 64 << 20  # (frames, frames) would be 12 GiB
    np.testing.assert_allclose(found, librosas(wave[0], about), rtol=2e-4, atol=2e-3)


def options(text: str) -> Any:
    return parse(*split(f"words/?{text}")).spectrum


def test_options_say_all_of_it() -> None:
    assert options("mel=40") == Spectrum(bands=40)
    assert options("mfcc=13") == Spectrum(bands=40, coefficients=13)
    assert options("hop=512") is None  # it cuts waves into frames
    assert options(
        "mfcc=10&mel=20&window=640&hop=160&fft=1024&fmin=20&fmax=4000&floor=0.001"
        "&mel-scale=slaney&norm=slaney&hann=periodic&log=natural"
    ) == Spectrum(
        bands=20, coefficients=10, window=640, hop=160, fft=1024, low_hz=20, high_hz=4000,
        floor=0.001, slaney=True, normalized=True, periodic=True, natural=True,
    )  # fmt: skip
    assert options("mel=8&pcen=true&gain=0.8&bias=10&power=0.25&eps=0.001&time-constant=0.06") == (
        Spectrum(
            bands=8,
            smoothing=Smoothing(gain=0.8, bias=10, power=0.25, eps=0.001, seconds=0.06),
        )
    )


@pytest.mark.parametrize("text", ["window=3", "window=2&hann=periodic", "window=8192"])
def test_the_shortest_and_the_longest_windows_hear_something(text: str) -> None:
    assert hann_window(options(f"mel=2&{text}")).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("window=480", "window=480 without bands"),
        ("mel=300", "mel=300: more bands than a window has frequencies"),
        ("mfcc=41", "mfcc=41: more coefficients than there are bands"),
        ("mel=8&fft=256", "fft=256: less than the window"),
        (
            "mel=8&fmin=7999.9999999999",
            "fmin=7999.9999999999, fmax=8000.0: there is nothing between them",
        ),
        ("mel=8&fmin=8000", "fmin=8000: not below fmax, 8000"),
        ("mel=8&fmax=9000", "fmax=9000: does not fit"),
        ("mel=8&fmin=nan", "fmin=nan: does not fit"),
        ("mel=8&window=0", "window=0: does not fit"),
        ("mel=8&window=1&fft=480", "window=1: a Hann window of that is zero"),
        ("mel=8&window=2&fft=480", "window=2: a Hann window of that is zero"),
        ("mel=8&window=1&fft=480&hann=periodic", "window=1: a Hann window of that is zero"),
        (
            "mel=8&window=65536",
            "window=65536 of an fft of 65536 takes 4,295,098,368 products a frame",
        ),
        ("mel=8&norm=l1", "norm=l1: does not fit"),
        ("mel=8&pcen=yes", "pcen=yes: does not fit"),
        ("mel=8&gain=1", "gain=1 without pcen"),
        ("mel=8&pcen=true&power=0", "power=0: does not fit"),
        ("mfcc=8&pcen=true", "mfcc=8 with pcen"),
        ("mel=8&log=natural&pcen=true", "log=natural with pcen"),
    ],
)
def test_options_that_do_not_fit_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options(text)
    assert caught.value.message == f"data option {message}"
    assert caught.value.hint

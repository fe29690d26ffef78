"""What is computed of sound before a network hears it, as options of data sets and steps name it.

Both read their options here and take their numbers from `sound`, so that a program computes what a
network was trained on.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.typed import whole_number
from edgekiln.runtime.waves import RATE_HZ

WINDOW, HOP = 480, 320  # 30 ms every 20 ms, at 16 kHz
_USUAL_BANDS = 40
_MOST = 1 << 16  # samples of a window
_MOST_PRODUCTS = 1 << 27  # of a frame's transform: 512 MiB of weights
_MOST_NUMBERS = 2**31 - 1  # of a frame, as far as they are read
_LEAST_HZ = 1.0  # between fmin and fmax: so near each other, edges of bands would be one number
_FLAGS = {"true": True, "false": False}
_NUMBERS = {"fmin": 0.0, "fmax": RATE_HZ / 2, "floor": 1e-6}
_SMOOTHING = {"gain": 0.98, "bias": 2.0, "power": 0.5, "eps": 1e-6, "time-constant": 0.4}
_WHOLE = ("mel", "mfcc", "window", "hop", "fft")
_CHOICES = {
    "mel-scale": ("htk", "slaney"), "norm": ("none", "slaney"),
    "hann": ("symmetric", "periodic"), "log": ("decibels", "natural"),
}  # fmt: skip
KEYS = (*_WHOLE, *_NUMBERS, *_CHOICES, "pcen", *_SMOOTHING)

# Raises an error that names what does not fit, and what to do.
Refuse = Callable[[str, str], ConfigError]


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """Numbers of per-channel energy normalization."""

    gain: float = _SMOOTHING["gain"]
    bias: float = _SMOOTHING["bias"]
    power: float = _SMOOTHING["power"]
    eps: float = _SMOOTHING["eps"]
    seconds: float = _SMOOTHING["time-constant"]


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Short-time spectra of 16 kHz: mel bands, their logarithms or per-channel energy normalization
    of them, and perhaps cepstral coefficients.
    """

    bands: int
    coefficients: int | None = None  # of the logarithms' cosine transform, in place of these
    window: int = WINDOW  # samples
    hop: int = HOP
    fft: int = WINDOW  # at least `window`: what is more is zero
    low_hz: float = _NUMBERS["fmin"]
    high_hz: float = _NUMBERS["fmax"]
    floor: float = _NUMBERS["floor"]  # power that is added: no logarithm of 0
    slaney: bool = False  # of the mel scale: Slaney's, and not HTK's
    normalized: bool = False  # each band by its width, as Slaney does
    periodic: bool = False  # of the Hann window
    natural: bool = False  # logarithms, and not decibels
    smoothing: Smoothing | None = None  # in place of the logarithm

    @property
    def numbers(self) -> int:
        """How many there are of a frame."""
        return self.coefficients or self.bands

    def samples(self, frames: int) -> int:
        """The fewest that make so many frames."""
        return self.window + self.hop * (frames - 1)

    def frames(self, samples: int) -> int:
        """How many frames samples make; none is padded."""
        return max(0, (samples - self.window) // self.hop + 1)


def spectrum_of(given: Mapping[str, str], refuse: Refuse) -> Spectrum | None:
    """What options say; None where they name no bands.

    Raises:
        ConfigError: made by `refuse`: a value that does not fit.
    """
    if not {"mel", "mfcc"} & given.keys():
        for key in given:
            if key in KEYS and key != "hop":  # which cuts waves, too
                raise refuse(f"{key}={given[key]} without bands", f"add mel={_USUAL_BANDS}")
        return None
    reader = _SpectrumReader(given=given, refuse=refuse)
    window = reader.whole("window", WINDOW)
    spectrum = Spectrum(
        bands=reader.whole("mel", _USUAL_BANDS),
        coefficients=reader.whole("mfcc", 0) or None,
        window=window, hop=reader.whole("hop", HOP), fft=reader.whole("fft", window),
        low_hz=reader.number("fmin", 0.0, RATE_HZ / 2),
        high_hz=reader.number("fmax", 0.0, RATE_HZ / 2),
        floor=reader.number("floor", 1e-12, 1.0),
        slaney=reader.chosen("mel-scale", "slaney"), normalized=reader.chosen("norm", "slaney"),
        periodic=reader.chosen("hann", "periodic"), natural=reader.chosen("log", "natural"),
        smoothing=reader.smoothing(),
    )  # fmt: skip
    _check(spectrum, refuse)
    return spectrum


@dataclass(frozen=True, kw_only=True)
class _SpectrumReader:
    """Options as text, and what they are."""

    given: Mapping[str, str]
    refuse: Refuse

    def whole(self, key: str, usual: int) -> int:
        text = self.given.get(key)
        if text is None:
            return usual
        most = _MOST_NUMBERS if key in ("mel", "mfcc") else _MOST
        number = whole_number(text, most)
        if not number:
            raise self.refuse(f"{key}={text}: does not fit", f"a whole number from 1 to {most}")
        return number

    def number(self, key: str, low: float, high: float) -> float:
        usual = {**_NUMBERS, **_SMOOTHING}[key]
        try:
            number = float(self.given.get(key, usual))
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise self.refuse(
                f"{key}={self.given[key]}: does not fit", f"a number from {low:g} to {high:g}"
            )
        return number

    def chosen(self, key: str, other: str) -> bool:
        """Whether the option is what it usually is not."""
        words = _CHOICES[key]
        word = self.given.get(key, words[0])
        if word not in words:
            raise self.refuse(f"{key}={word}: does not fit", f"one of {', '.join(words)}")
        return word == other

    def smoothing(self) -> Smoothing | None:
        flag = self.given.get("pcen", "false")
        if flag not in _FLAGS:
            raise self.refuse(f"pcen={flag}: does not fit", "one of true, false")
        if not _FLAGS[flag]:
            for key in _SMOOTHING:
                if key in self.given:
                    raise self.refuse(f"{key}={self.given[key]} without pcen", "add pcen=true")
            return None
        for key in ("mfcc", "log", "floor"):
            if key in self.given:
                raise self.refuse(
                    f"{key}={self.given[key]} with pcen",
                    "there are no logarithms where energies are normalized: leave one out",
                )
        return Smoothing(
            gain=self.number("gain", 0.0, 2.0), bias=self.number("bias", 0.0, 1e6),
            power=self.number("power", 1e-3, 1.0), eps=self.number("eps", 1e-9, 1.0),
            seconds=self.number("time-constant", 1e-3, 60.0),
        )  # fmt: skip


def _check(spectrum: Spectrum, refuse: Refuse) -> None:
    most = spectrum.fft // 2 + 1
    if spectrum.bands > most:
        raise refuse(
            f"mel={spectrum.bands}: more bands than a window has frequencies",
            f"give at most {most}; {_USUAL_BANDS} are usual",
        )
    if spectrum.numbers > spectrum.bands:
        raise refuse(
            f"mfcc={spectrum.numbers}: more coefficients than there are bands",
            f"give at most {spectrum.bands}, or more bands: mel={spectrum.numbers}",
        )
    if spectrum.fft < spectrum.window:
        raise refuse(
            f"fft={spectrum.fft}: less than the window", f"give at least {spectrum.window}"
        )
    if spectrum.low_hz >= spectrum.high_hz:
        raise refuse(f"fmin={spectrum.low_hz:g}: not below fmax, {spectrum.high_hz:g}", "give less")
    if spectrum.high_hz - spectrum.low_hz < _LEAST_HZ:
        raise refuse(
            f"fmin={spectrum.low_hz!r}, fmax={spectrum.high_hz!r}: there is nothing between them",
            f"give bands at least {_LEAST_HZ:g} Hz of room",
        )
    # A Hann window of 1 is 0, and so are both ends of a symmetric one.
    if spectrum.window < 3 - spectrum.periodic:
        raise refuse(
            f"window={spectrum.window}: a Hann window of that is zero", "give more samples"
        )
    if (size := spectrum.window * (spectrum.fft + 2)) > _MOST_PRODUCTS:
        raise refuse(
            f"window={spectrum.window} of an fft of {spectrum.fft} takes {size:,} products a frame",
            f"give a shorter window, or a smaller fft: at most {_MOST_PRODUCTS:,}",
        )

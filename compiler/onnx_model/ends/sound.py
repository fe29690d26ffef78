"""Samples of sound become what a network hears: mel bands, cepstral coefficients, normalized
energies; those that it was trained on, or those that a step names.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model.ends.graph_end import GraphEnd
from edgekiln.compiler.onnx_model.ends.steps import SPECTRA, EndStep
from edgekiln.models.data import sound
from edgekiln.models.data.options import parse
from edgekiln.models.data.spectrum import KEYS, Smoothing, Spectrum, spectrum_of
from edgekiln.models.spec import split
from edgekiln.runtime.typed import did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import Preprocessing

_FULL_SCALE = 32768  # what of 16 bits is 1 in data sets
_MOST_SMOOTHED = 4096  # frames: what smooths them is a matrix with as many rows and columns
_LAYOUTS = ("TF", "FT")


@dataclass(frozen=True, kw_only=True)
class HeardInput:
    """What a network hears: spectra of so many frames, in this shape."""

    about: Spectrum
    shape: tuple[int, ...]  # of the network's input, for one sample
    frames: int
    frames_last: bool


def read(step: EndStep) -> tuple[Spectrum, bool]:
    """What a step such as "mfcc=13?mel=40" says, and whether frames are the last axis.

    Raises:
        ConfigError: an unknown option, or one that does not fit.
    """
    count, given = split(step.spec)
    for key in given:
        if key not in (*KEYS, "layout") or key == step.name:
            raise step.wrong(
                f"no option {key!r}",
                hint=did_you_mean(key, (*KEYS, "layout"), what="options are"),
            )
    layout = given.pop("layout", _LAYOUTS[0])
    if layout not in _LAYOUTS:
        raise step.wrong(
            f"layout={layout}: does not fit",
            hint="the network takes (frames, numbers), TF, or (numbers, frames), FT",
        )
    spectrum = spectrum_of({step.name: count, **given}, step.wrong)
    assert spectrum is not None, step.text  # it names bands
    return spectrum, layout == "FT"


def heard(steps: Sequence[EndStep], shape: tuple[int, ...], data: str) -> HeardInput:
    """What a network takes of sound.

    Args:
        steps: the source first.
        shape: of the network's input, for one sample.
        data: the data set that it names as its own.

    Raises:
        ConfigError: nobody says what it takes, both do and differ, or it takes another shape.
    """
    source, *others = steps
    if strange := [step for step in others if step.name not in SPECTRA]:
        raise strange[0].wrong("is a step of pictures", hint="of sound there are mel and mfcc")
    if len(others) > 1:
        raise others[1].wrong("is a second one", hint="leave one of them out")
    trained = parse(*split(data)).spectrum if data else None
    step, about, frames_last = source, trained, False
    if others:
        step = others[0]
        about, frames_last = read(step)
        if trained not in (None, about):
            raise step.wrong(
                f"the network was trained on other spectra, those of {data}",
                hint="leave the step out: they are known",
            )
    made = None if about is None else _fitting(about, shape, frames_last)
    if made is None:
        if others:
            raise step.wrong(
                f"the network takes {list(shape)}, a frame has {_numbers(about)}",
                hint="say how many there are, and layout=FT where frames are the last axis",
            )
        raise step.wrong(
            f"the network takes {list(shape)}, and its data set is {data or 'unknown'}",
            hint="train it on spectra of sounds, --data 'words/?seconds=1&mel=40', or say what it "
            "takes: --before pcm --before mel=40",
        )
    if made.about.smoothing and made.frames > _MOST_SMOOTHED:
        raise step.wrong(
            f"normalizes the energy of {made.frames} frames in one call",
            hint=f"at most {_MOST_SMOOTHED} are possible: train on a longer hop or shorter sounds",
        )
    return made


def _numbers(about: Spectrum | None) -> str:
    return "nothing" if about is None else f"{about.numbers} numbers"


def _fitting(about: Spectrum, shape: tuple[int, ...], frames_last: bool) -> HeardInput | None:
    """Frames and numbers in this order, among axes of one element; None if it is another shape."""
    total, count = math.prod(shape), about.numbers
    if total < count or total % count:
        return None
    pair = (count, total // count) if frames_last else (total // count, count)
    if [each for each in shape if each != 1] != [each for each in pair if each != 1]:
        return None
    return HeardInput(about=about, shape=shape, frames=total // count, frames_last=frames_last)


def samples(source: EndStep, takes: HeardInput) -> int:
    """How many samples of 16 kHz make what the network takes. Raises ConfigError: the step says
    another number.
    """
    about, least = takes.about, takes.about.samples(takes.frames)
    if source.count == 0:
        raise source.wrong("no samples are no sound", hint=f"write pcm, or pcm={least}")
    count = source.count or least
    if about.frames(count) != takes.frames:
        raise source.wrong(
            f"{count} samples are {about.frames(count)} frames, the network takes {takes.frames}",
            hint=f"{least} to {least + about.hop - 1} samples are as many",
        )
    return count


def spectra(
    end: GraphEnd, name: str, takes: HeardInput, numbers: "Preprocessing | None", result: str,
    remembers: bool,
) -> None:  # fmt: skip
    """Write the way from int16 samples, (N, samples), to what `sound.spectra` computes of them.

    Two convolutions, or three: the window's Fourier transform, real and imaginary parts, the bands,
    and their cosine transform.

    Args:
        remembers: whether a call goes on with the stream of the call before.
    """
    import onnx

    about = takes.about
    real = end.op("Cast", name, what="samples", to=onnx.TensorProto.FLOAT)
    axis = end.constant(np.array([1]), "axis")
    real = end.op("Unsqueeze", real, axis, what="sound")
    waves = end.constant(_fourier(about)[:, None], "fourier")
    parts = end.op(
        "Conv", real, waves, what="parts", kernel_shape=(about.window,), strides=(about.hop,)
    )
    squares = end.op("Mul", parts, parts, what="squares")
    bands = sound.mel_filters(about).T * np.float32(sound.FULL_POWER if about.smoothing else 1)
    # The power is the sum of both squares, of which each band takes its share.
    weights = end.constant(np.concatenate([bands, bands], axis=1)[:, :, None], "bands")
    if about.smoothing:
        power = end.op("Conv", squares, weights, what="power", kernel_shape=(1,))
        real = _normalized(end, power, takes, about.smoothing, remembers)
    else:
        silence = end.constant(np.full(about.bands, about.floor, np.float32), "silence")
        power = end.op("Conv", squares, weights, silence, what="power", kernel_shape=(1,))
        real = _logarithms(end, power, about)
    for op, values, nothing in _arithmetic(numbers):
        if any(value != nothing for value in values):
            array = np.array(values, np.float32).reshape(-1, 1) if len(values) > 1 else values[0]
            real = end.op(op, real, end.constant(np.array(array, np.float32), op.lower()))
    if not takes.frames_last:
        real = end.op("Transpose", real, what="frames", perm=(0, 2, 1))
    whole = end.constant(np.array([-1, *takes.shape]), "shape")
    end.op("Reshape", real, whole, result=result)


def _logarithms(end: GraphEnd, power: str, about: Spectrum) -> str:
    """(N, numbers, frames)."""
    factor = 1.0 if about.natural else 10 / np.log(10)
    real = end.op("Log", power, what="log")
    if about.coefficients is not None:
        rows = (factor * sound.cosines(about)).astype(np.float32)[:, :, None]
        return end.op(
            "Conv", real, end.constant(rows, "cosines"), what="coefficients", kernel_shape=(1,)
        )
    if factor != 1:
        real = end.op("Mul", real, end.constant(np.array(factor, np.float32), "decibel"),
            what="decibels")  # fmt: skip
    return real


def _normalized(
    end: GraphEnd, power: str, takes: HeardInput, smoothing: Smoothing, remembers: bool
) -> str:
    """Per-channel energy normalization of (N, bands, frames)."""

    def number(value: float, what: str) -> str:
        return end.constant(np.array(value, np.float32), what)

    weights, start = sound.smoothed_by(takes.about, smoothing, takes.frames)
    by = end.constant(weights.T.astype(np.float32), "smoothing")
    mean = end.op("MatMul", power, by, what="smooth")
    one, row = number(1, "one"), start.astype(np.float32)[None, None]
    if remembers:
        # States begin at zero, the mean at one.
        state = end.remember("pcen", (takes.about.bands, 1))
        before = end.op("Add", state, one, what="smooth.before")
        began = end.op("MatMul", before, end.constant(row[0], "start"), what="smooth.start")
        mean = end.op("Add", mean, began, what="smooth")
        last = end.op("Gather", mean, end.constant(np.array([takes.frames - 1]), "last"),
            what="smooth.last", axis=2)  # fmt: skip
        end.keep(state, end.op("Sub", last, one, what="smooth.next"))
    else:
        mean = end.op("Add", mean, end.constant(row, "start"), what="smooth")
    safe = end.op("Add", mean, number(smoothing.eps, "eps"))
    exponent = end.op("Mul", end.op("Log", safe), number(-smoothing.gain, "gain"))
    gained = end.op("Mul", power, end.op("Exp", exponent), what="gained")
    biased = end.op("Add", gained, number(smoothing.bias, "bias"))
    if smoothing.power == 0.5:  # a square root, which is faster
        raised = end.op("Sqrt", biased)
    else:
        raised = end.op("Pow", biased, number(smoothing.power, "power.numbers"))
    return end.op("Sub", raised, number(smoothing.bias**smoothing.power, "nothing"), what="pcen")


def _arithmetic(
    numbers: "Preprocessing | None",
) -> tuple[tuple[str, tuple[float, ...], float], ...]:
    """What `runtime.inputs.preprocess` does: by one number, or one a band."""
    if numbers is None:
        return ()
    return ("Mul", (numbers.scale,), 1.0), ("Sub", numbers.mean, 0.0), ("Div", numbers.std, 1.0)


def _fourier(about: Spectrum) -> "NDArray[np.float32]":
    """(2 · bins, window): cosines, then sines, in the window, of samples of 16 bits."""
    turns = np.outer(np.arange(about.fft // 2 + 1), np.arange(about.window)) % about.fft / about.fft
    waves = np.concatenate([np.cos(2 * np.pi * turns), -np.sin(2 * np.pi * turns)])
    return (waves * sound.hann_window(about) / _FULL_SCALE).astype(np.float32)

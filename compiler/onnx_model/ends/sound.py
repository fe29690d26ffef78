"""Samples of sound become the log-mel spectra that a network was trained on with `?mel=`."""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model.ends.graph_end import GraphEnd
from edgekiln.compiler.onnx_model.ends.steps import EndStep
from edgekiln.models.data.options import parse
from edgekiln.models.data.sound import HOP, SILENCE, WINDOW, hann_window, mel_filters
from edgekiln.models.spec import split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import Preprocessing

_FULL_SCALE = 32768  # what of 16 bits is 1 in data sets


def samples(step: EndStep, shape: tuple[int, ...], data: str) -> int:
    """How many samples of 16 kHz make the spectra that a network takes.

    Args:
        shape: of the network's input, for one sample: (…, frames, bands).
        data: the data set that it names as its own.

    Raises:
        ConfigError: it was not trained on log-mel spectra, or the step says another number.
    """
    bands = parse(*split(data)).mel if data else None
    if bands is None or len(shape) < 2 or shape[-1] != bands or np.prod(shape[:-2]) != 1:
        raise step.wrong(
            f"the network takes {list(shape)}, and its data set is {data or 'unknown'}",
            hint="train it on log-mel spectra of sounds: --data 'words/?seconds=1&mel=40'",
        )
    frames = shape[-2]
    least = WINDOW + HOP * (frames - 1)
    count = step.count or least
    if not least <= count < least + HOP:
        raise step.wrong(
            f"{count} samples are {max(0, (count - WINDOW) // HOP + 1)} frames, the network takes "
            f"{frames}",
            hint=f"{least} to {least + HOP - 1} samples are as many",
        )
    return count


def spectra(
    end: GraphEnd, name: str, shape: tuple[int, ...], numbers: "Preprocessing | None", result: str
) -> None:
    """Write the way from int16 samples, (N, samples), to 10 log10 of the power in each mel band.

    Two convolutions: the window's Fourier transform, real and imaginary parts, and the bands.
    """
    import onnx

    real = end.op("Cast", name, what="samples", to=onnx.TensorProto.FLOAT)
    axis = end.constant(np.array([1]), "axis")
    real = end.op("Unsqueeze", real, axis, what="sound")
    waves = end.constant(_fourier()[:, None], "fourier")
    parts = end.op("Conv", real, waves, what="parts", kernel_shape=(WINDOW,), strides=(HOP,))
    squares = end.op("Mul", parts, parts, what="squares")
    bands = mel_filters(WINDOW, shape[-1]).T
    # The power is the sum of both squares, of which each band takes its share.
    weights = end.constant(np.concatenate([bands, bands], axis=1)[:, :, None], "bands")
    silence = end.constant(np.full(shape[-1], SILENCE, np.float32), "silence")
    power = end.op("Conv", squares, weights, silence, what="power", kernel_shape=(1,))
    decibel = end.constant(np.array(10 / np.log(10), np.float32), "decibel")
    real = end.op("Mul", end.op("Log", power, what="log"), decibel, what="decibels")
    real = end.op("Transpose", real, what="frames", perm=(0, 2, 1))
    for op, values, nothing in _arithmetic(numbers):
        if any(value != nothing for value in values):
            by = end.constant(np.array(values, np.float32), op.lower())
            real = end.op(op, real, by)
    whole = end.constant(np.array([-1, *shape]), "shape")
    end.op("Reshape", real, whole, result=result)


def _arithmetic(
    numbers: "Preprocessing | None",
) -> tuple[tuple[str, tuple[float, ...], float], ...]:
    """What `runtime.inputs.preprocess` does: by one number, or one a band."""
    if numbers is None:
        return ()
    return ("Mul", (numbers.scale,), 1.0), ("Sub", numbers.mean, 0.0), ("Div", numbers.std, 1.0)


def _fourier() -> "NDArray[np.float32]":
    """(2 · bins, window): cosines, then sines, in the window, of samples of 16 bits."""
    turns = np.outer(np.arange(WINDOW // 2 + 1), np.arange(WINDOW)) % WINDOW / WINDOW
    waves = np.concatenate([np.cos(2 * np.pi * turns), -np.sin(2 * np.pi * turns)])
    return (waves * hann_window(WINDOW) / _FULL_SCALE).astype(np.float32)

"""Weights of uint8 less their zero point, which int8 need not hold: -255 to 255.

They are sums of weights of int8, and a product is linear: the layer reads channels again, each time
with a part of their weights.
"""

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.tflite.model import TfliteTensor
from edgekiln.compiler.onnx_model.tflite.onnx_writer import OnnxWriter

_ENDS = np.iinfo(np.int8)


def fit(weights: NDArray[np.generic]) -> bool:
    """Whether int8 holds them."""
    return bool(weights.min(initial=0) >= _ENDS.min and weights.max(initial=0) <= _ENDS.max)


def parts(weights: NDArray[np.generic]) -> list[NDArray[np.int8]]:
    """Arrays of int8 whose sum the weights are."""
    found: list[NDArray[np.int8]] = []
    rest = weights.astype(np.int32)
    while not found or rest.any():
        found.append(rest.clip(_ENDS.min, _ENDS.max).astype(np.int8))
        rest = rest - found[-1]
    return found


def channels_again(
    w: OnnxWriter, x: str, like: TfliteTensor, weights: NDArray[np.generic]
) -> tuple[str, NDArray[np.int8]]:
    """The operand with channels repeated behind its own, and the weights; both have channels on
    axis 1.
    """
    first, *others = parts(weights)
    axes = tuple(axis for axis in range(weights.ndim) if axis != 1)
    found, names = [first], [x]
    for part in others:
        used = np.flatnonzero(part.any(axis=axes)).astype(np.int64)
        found.append(np.take(part, used, 1))
        names.append(_taken(w, x, like, used))
    if len(names) == 1:
        return x, first
    joined = w.moved("Concat", names, like, f"{x}.again", given={"axis": 1})
    return joined, np.concatenate(found, 1)


def each_channel_again(
    w: OnnxWriter, x: str, like: TfliteTensor, weights: NDArray[np.generic], channels: int
) -> tuple[str, NDArray[np.int8]]:
    """The same of a depthwise layer, whose channels are repeated each beside itself: its weights
    become those of groups.
    """
    found = parts(weights)
    places = np.repeat(np.arange(channels), len(found)).astype(np.int64)
    name = x if len(found) == 1 else _taken(w, x, like, places)
    return name, np.concatenate(found, 1)


def _taken(w: OnnxWriter, x: str, like: TfliteTensor, places: NDArray[np.int64]) -> str:
    index = w.weight(places, f"{x}.channels")
    return w.moved("Gather", (x,), like, f"{x}.taken", (index,), {"axis": 1})

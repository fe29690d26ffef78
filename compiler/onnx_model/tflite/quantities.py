"""Numbers that TFLite's kernels prepare from scales: factors and the limits of activations."""

import math

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.tflite.fixed_point import quantized_multiplier
from edgekiln.compiler.onnx_model.tflite.model import TfliteTensor

# All codes of a type: -128 is one of activations', though not of weights'.
_LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}
_REAL_LIMITS = {
    "NONE": (-math.inf, math.inf), "RELU": (0.0, math.inf), "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU6": (0.0, 6.0),
}  # fmt: skip


def real_limits(activation: str) -> tuple[float, float] | None:
    """What an activation function clips to; None of one that does more."""
    return _REAL_LIMITS.get(activation)


def code_limits(activation: str, tensor: TfliteTensor) -> tuple[int, int] | None:
    """The codes that an activation function clips to, as CalculateActivationRangeQuantized."""
    bounds = real_limits(activation)
    if bounds is None:
        return None
    low, high = _LIMITS[tensor.dtype]
    least, most = (code_of(bound, tensor) for bound in bounds)
    return max(low, least), min(high, most)


def code_of(value: float, tensor: TfliteTensor) -> int:
    """The code of a real number, half away from zero; beyond all codes for an infinite one."""
    if math.isinf(value):
        return 1 << 20 if value > 0 else -(1 << 20)
    return tensor.zero + int(half_away(np.array(np.float32(value) / np.float32(tensor.scale))))


def half_away(x: NDArray[np.floating]) -> NDArray[np.int64]:
    """Floats to the nearest whole numbers, as C's round."""
    wide = x.astype(np.float64)
    return np.asarray(np.sign(wide) * np.floor(np.abs(wide) + 0.5)).astype(np.int64)


def all_codes(tensor: TfliteTensor) -> tuple[int, int]:
    """The lowest and the highest code of its type."""
    return _LIMITS[tensor.dtype]


def factors(*reals: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Integers and shifts of real factors."""
    pairs = np.array([quantized_multiplier(real) for real in reals], np.int64)
    return pairs[:, 0].copy(), pairs[:, 1].copy()

"""A small real classifier as QDQ ONNX, in a sound form and with a regression of each kind."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekiln.models.data import load
from tests.compiler.qdq_models import QdqModel

DATA = "digits"
POOL = 4  # pixels
RIDGE = 1.0  # of the least squares, whose features reach about 3

Flaw = Literal["none", "weights", "arena", "float"]


def classifier(path: Path, flaw: Flaw = "none") -> Path:
    """Least squares on the average of each 4×4 block of a digit: about nine in ten are right.

    "weights" are perturbed ones, "arena" is a detour through 16 channels and windows of nine
    pixels, which takes much longer, and "float" an operation between the quantized ones that has
    no integer form.
    """
    weight = _fitted()  # (class, channel, row, column)
    if flaw == "weights":
        weight += np.random.default_rng(0).normal(0, 3 * weight.std(), weight.shape)
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 32, 32), scale=0.03, zero=-60)
    if flaw == "arena":
        copies = np.eye(3, dtype=np.float32)[np.arange(16) % 3].reshape(16, 3, 1, 1)
        x = m.q(m.op("Conv", x, _quantized(m, copies), out="wide"), scale=0.03, zero=-60)
        middle = np.zeros((16, 16, 3, 3), np.float32)
        middle[:, :, 1, 1] = np.eye(16)
        again = m.op("Conv", x, _quantized(m, middle), out="again", pads=[1, 1, 1, 1])
        x = m.q(again, scale=0.03, zero=-60)
        weight = np.pad(weight, ((0, 0), (0, 13), (0, 0), (0, 0)))
    block = [POOL, POOL]
    pooled = m.op("AveragePool", x, out="pooled", kernel_shape=block, strides=block)
    pooled = m.q(pooled, scale=0.03, zero=-60)
    flat = m.op("Flatten", pooled, out="flat")
    logits = m.op("Gemm", flat, _quantized(m, weight.reshape(10, -1)), out="logits", transB=1)
    if flaw == "float":
        scores = m.q(logits, scale=0.02, zero=0)
        logits = m.q(m.op("LogSoftmax", scores, out="log"), scale=0.05, zero=0)
    return m.save(path, logits)


def _fitted() -> NDArray[np.float32]:
    digits = load(DATA)
    x = digits.ready(digits.train.inputs)[""]
    n, channels, height, width = x.shape
    blocks = x.reshape(n, channels, height // POOL, POOL, width // POOL, POOL).mean((3, 5))
    features = blocks.reshape(n, -1)
    wanted = np.eye(10, dtype=np.float32)[digits.train.y] - 0.1
    normal = features.T @ features + RIDGE * np.eye(features.shape[1], dtype=np.float32)
    fitted = np.linalg.solve(normal, features.T @ wanted).T
    return fitted.reshape(10, *blocks.shape[1:]).astype(np.float32)


def _quantized(m: QdqModel, weight: NDArray[np.float32]) -> str:
    """A dequantized int8 constant of these values, one scale an output channel."""
    scales = np.abs(weight).reshape(len(weight), -1).max(1) / 127
    codes = np.rint(weight / scales.reshape(-1, *[1] * (weight.ndim - 1)))
    m.count += 1
    name = f"w{m.count}"
    m.constants.append(numpy_helper.from_array(codes.astype(np.int8), name))
    zeros = m.const(np.zeros(len(weight)), "int8")
    return m.op(
        "DequantizeLinear", name, m.const(scales, "float32"), zeros, out=f"{name}_dq", axis=0
    )

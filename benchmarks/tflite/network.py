"""A small network of most of TFLite's operators for images, with random weights."""

import numpy as np

from edgekiln.benchmarks.tflite.operators import TfliteCase, codes, new_writer
from edgekiln.benchmarks.tflite.writer import TfliteWriter


def network(rng: np.random.Generator) -> TfliteCase:
    """Convolutions around a residual sum, a pool, a dense layer, softmax."""
    w = new_writer()
    x = w.tensor((1, 12, 10, 3), scale=0.05, zero=-3)
    stem = _conv(w, rng, x, (1, 6, 5, 8), (8, 3, 3, 3), 2, activation=1)
    deep = _depthwise(w, rng, stem, (1, 6, 5, 8), 8)
    point = _conv(w, rng, deep, (1, 6, 5, 8), (8, 1, 1, 8), 1)
    total = w.tensor((1, 6, 5, 8), scale=0.125, zero=-128)
    w.op("ADD", [stem, point], total, "Add", activation=1)
    swished = w.tensor((1, 6, 5, 8), scale=0.125, zero=-20)
    w.op("HARD_SWISH", [total], swished)
    pooled = w.tensor((1, 2, 2, 8), scale=0.125, zero=-20)
    w.op(
        "AVERAGE_POOL_2D", [swished], pooled, "Pool2D", padding=0, stride_w=3, stride_h=3,
        filter_w=3, filter_h=3,
    )  # fmt: skip
    flat = w.tensor((1, 32), scale=0.125, zero=-20)
    shape = w.constant(np.array([1, 32], np.int32))
    w.op("RESHAPE", [pooled, shape], flat, "Reshape", new_shape=[1, 32])
    logits = w.tensor((1, 10), scale=0.25, zero=5)
    weights = w.constant(codes(rng, 10, 32), 0.01)
    bias = w.constant(rng.integers(-2000, 2000, 10).astype(np.int32), 0.125 * 0.01)
    w.op("FULLY_CONNECTED", [flat, weights, bias], logits, "FullyConnected")
    result = w.tensor((1, 10), scale=1 / 256, zero=-128)
    w.op("SOFTMAX", [logits], result, "Softmax", beta=1.0)
    return TfliteCase(w.file([x], [result]), (codes(rng, 1, 12, 10, 3),))


def _conv(
    w: TfliteWriter, rng: np.random.Generator, x: int, out: tuple[int, ...],
    weights: tuple[int, ...], stride: int, activation: int = 0,
) -> int:  # fmt: skip
    y = w.tensor(out, scale=0.1, zero=-128 if activation else 7)
    operands = [x, *_weights(w, rng, weights, 0)]
    w.op(
        "CONV_2D", operands, y, "Conv2D", padding=0, stride_w=stride, stride_h=stride,
        activation=activation,
    )  # fmt: skip
    return y


def _depthwise(
    w: TfliteWriter, rng: np.random.Generator, x: int, out: tuple[int, ...], channels: int
) -> int:
    y = w.tensor(out, scale=0.11, zero=-7)
    operands = [x, *_weights(w, rng, (1, 3, 3, channels), 3)]
    w.op("DEPTHWISE_CONV_2D", operands, y, "DepthwiseConv2D", stride_w=1, stride_h=1, multiplier=1)
    return y


def _weights(
    w: TfliteWriter, rng: np.random.Generator, shape: tuple[int, ...], axis: int
) -> tuple[int, int]:
    """Weights and a bias, a scale a channel."""
    scales = rng.uniform(0.001, 0.01, shape[axis]).astype(np.float32)
    bias = rng.integers(-1000, 1000, shape[axis]).astype(np.int32)
    return (
        w.constant(codes(rng, *shape), scales.tolist(), 0, axis),
        w.constant(bias, (scales * np.float32(0.1)).tolist(), 0, 0),
    )

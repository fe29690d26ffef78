"""Small models that meet every kernel once, with the same numbers on every machine."""

from pathlib import Path

import onnx

from tests.compiler import float_models
from tests.compiler.qdq_models import QdqModel


def images(path: Path) -> Path:
    """Convolutions of every kind, pools, a residual, a concatenation, lookup tables, a head."""
    m = QdqModel(seed=5)
    x = m.q(m.input("x", 1, 3, 20, 20), scale=0.02, zero=-5)
    stem = m.op("Relu", m.conv(x, 16, 3, 3, 3, out="stem", strides=[2, 2]), out="stem_relu")
    a = m.q(stem, scale=0.04, zero=-128)
    b = m.q(m.conv(a, 16, 16, 3, 3, out="b", pads=[1, 1, 1, 1]), scale=0.3, zero=4)
    same = m.q(m.op("Relu", m.op("Add", a, b, out="sum"), out="sum_relu"), scale=0.4, zero=-128)
    wide = m.conv(same, 24, 16, 1, 1, out="wide")
    d = m.q(m.op("HardSwish", m.q(wide, scale=0.11, zero=3), out="swish"), scale=0.1, zero=-90)
    depthwise = m.conv(d, 24, 1, 3, 3, out="depthwise", pads=[1, 1, 1, 1], group=24)
    e = m.q(depthwise, scale=0.2, zero=1)
    strided = m.conv(e, 24, 1, 5, 5, out="strided", pads=[2, 2, 2, 2], strides=[2, 2], group=24)
    f = m.q(strided, scale=0.2, zero=1)
    average = m.op(
        "AveragePool", e, out="average", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
    )
    g = m.q(average, scale=0.19, zero=2)
    joined = m.q(m.op("Concat", f, g, out="joined", axis=1), scale=0.2, zero=1)
    top = m.op("MaxPool", joined, out="top", kernel_shape=[2, 2], strides=[1, 1])
    gate = m.q(m.op("GlobalAveragePool", top, out="gate"), scale=0.15, zero=0)
    scaled = m.q(m.op("Mul", top, gate, out="scaled"), scale=0.2, zero=0)
    pooled = m.q(m.op("GlobalAveragePool", scaled, out="pooled"), scale=0.2, zero=0)
    flat = m.op("Flatten", pooled, out="flat")
    weight, _ = m.weight(10, 48)
    m.op("Gemm", flat, weight, out="y", transB=1)
    return m.save(path, "y")


def tokens(path: Path) -> Path:
    """An attention over eight tokens: products of activations, softmax, layer normalization."""
    m = QdqModel(seed=6)
    x = m.q(m.input("x", 1, 8, 32), scale=0.03, zero=2)
    scale, bias = m.const(m.rng.random(32) + 0.5, "float32"), m.const([0.1] * 32, "float32")
    normed = m.q(m.op("LayerNormalization", x, scale, bias, out="normed"), scale=0.02, zero=0)
    parts = []
    for name in ("query", "key", "value"):
        weight, _ = m.weight(32, 32, axis=1)
        parts.append(m.q(m.op("MatMul", normed, weight, out=name), scale=0.2, zero=-3))
    query, key, value = parts
    across = m.op("Transpose", key, out="across", perm=[0, 2, 1])
    scores = m.q(m.op("MatMul", query, across, out="scores"), scale=0.1, zero=10)
    shares = m.q(m.op("Softmax", scores, out="shares", axis=-1), scale=1 / 256, zero=-128)
    mixed = m.q(m.op("MatMul", shares, value, out="mixed"), scale=0.1, zero=0)
    m.op("Add", mixed, x, out="y")
    return m.save(path, m.q("y", scale=0.1, zero=5))


def floats(path: Path) -> Path:
    """The same kinds of kernels on float32."""
    body = """
        a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w1, b1)
        ra = HardSwish (a)
        c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (ra, w2, b2)
        s = Add (c, ra)
        rs = Relu (s)
        d = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 8> (rs, w4, b1)
        m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (d)
        p = GlobalAveragePool (m)
        f = Flatten (p)
        g = Gemm <transB = 1> (f, w3, b3)
        y = Softmax (g)
    """
    weights = float_models.RESIDUAL_WEIGHTS | {"w4": (8, 1, 3, 3)}
    model = float_models.make(body, weights, x="1, 3, 16, 16", y="1, 10")
    return float_models.write(onnx.shape_inference.infer_shapes(model), path)


MODELS = {"images": images, "tokens": tokens, "floats": floats}

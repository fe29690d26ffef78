"""QDQ models of one network at several widths: the narrower ones have the first channels' codes."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.compiler.qdq_models import QdqModel

IMAGE, CLASSES = 12, 10


class NestedNet:
    """A convolution of the image, a pointwise, a depthwise, another convolution with a residual
    addition, a pool and a dense layer; `width` channels inside.
    """

    def __init__(self, width: int, seed: int = 0, kernel: int = 3) -> None:
        draw = np.random.default_rng(seed)
        self.width, self.kernel = width, kernel

        def codes(*shape: int) -> NDArray[np.int8]:
            return draw.integers(-127, 128, shape).astype(np.int8)

        self.weights = {
            "stem": codes(width, 3, 3, 3),
            "point": codes(width, width, 1, 1),
            "depth": codes(width, 1, 3, 3),
            "deep": codes(width, width, kernel, kernel),
            "dense": codes(CLASSES, width),
        }
        self.scales = {
            name: (draw.random(len(weight)) * 0.01 + 0.001).astype(np.float32)
            for name, weight in self.weights.items()
        }

    def save(self, path: Path, width: int, words: bool = False) -> Path:
        """The network's first `width` channels; with `words` activations have 16 bits."""
        m = QdqModel(seed=width, opset=21, dtype="int16" if words else "int8")

        def q(name: str, scale: float, zero: int) -> str:
            return m.q(name, scale=scale / 200 if words else scale, zero=0 if words else zero)

        x = q(m.input("x", 1, 3, IMAGE, IMAGE), 0.02, -5)
        stem = self._conv(m, x, "stem", width, pads=[1, 1, 1, 1])
        a = q(m.op("Relu", stem, out="stem_relu"), 0.03 * width, -128)
        b = q(self._conv(m, a, "point", width, width), 0.4 * width, 4)
        c = q(self._conv(m, b, "depth", width, pads=[1, 1, 1, 1], group=width), 4.0, 7)
        side = self.kernel // 2
        d = q(self._conv(m, c, "deep", width, width, pads=[side] * 4), 31.0 * width, 9)
        e = q(m.op("Relu", m.op("Add", d, a, out="sum"), out="sum_relu"), 40.0, -128)
        pool = q(m.op("GlobalAveragePool", e, out="pool"), 20.0, -128)
        flat = m.op("Flatten", pool, out="flat")
        weight = self._weight(m, "dense", CLASSES, width)
        m.op("Gemm", flat, weight, out="logits", transB=1)
        return m.save(path, "logits")

    def _weight(self, m: QdqModel, name: str, out: int, inner: int | None = None) -> str:
        codes = self.weights[name][:out, :inner]
        scales = m.const(self.scales[name][:out], "float32")
        zeros = m.const(np.zeros(out), "int8")
        given = m.const(codes, "int8")
        return m.op("DequantizeLinear", given, scales, zeros, out=f"{name}_w", axis=0)

    def _conv(
        self, m: QdqModel, x: str, name: str, out: int, inner: int | None = None, **attrs: Any
    ) -> str:
        weight = self._weight(m, name, out, inner)
        scale = np.float32(m.scales[x]) * self.scales[name][:out]
        bias = m.const(m.rng.integers(-2000, 2000, out), "int32")
        zeros = m.const(np.zeros(out), "int32")
        m.op("DequantizeLinear", bias, m.const(scale, "float32"), zeros, out=f"{name}_b", axis=0)
        return m.op("Conv", x, weight, f"{name}_b", out=name, **attrs)

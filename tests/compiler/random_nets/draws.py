"""What a random network is drawn with: numbers by a seed, and values with their codes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from onnx import TensorProto

from tests.compiler.qdq_models import QdqModel

T = TypeVar("T")

MOST = 6000  # numbers of a tensor
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 8, 12, 16, 16, 17, 20, 24, 31, 32, 33, 48, 64)
# Of these, those that networks have behind every convolution.
LIKELY = ("Relu", "Clip", "HardSwish", "Sigmoid", "LeakyRelu")


@dataclass(frozen=True)
class Value:
    """A dequantized tensor, and the names of its codes' scale and zero point."""

    name: str
    shape: tuple[int, ...]
    scale: float
    codes: tuple[str, str] = ("", "")


class Draws:
    """A model that grows, its values, and what is drawn for it.

    Args:
        words: most codes have 16 bits.
        narrow: weights have four bits.
    """

    def __init__(self, seed: int, words: bool = False, narrow: bool = False) -> None:
        self.rng, self.words, self.narrow = np.random.default_rng(seed), words, narrow
        dtype = self.any_of(("int8", "int8", "uint8"))
        self.model = QdqModel(seed=seed, dtype=dtype, opset=21 if words else 20)
        self.low = -128 if self.model.dtype == "int8" else 0
        self.values: list[Value] = []
        self.ends: list[str] = []  # results that no operator takes
        self._count = 0

    def any_of(self, choices: Sequence[T]) -> T:
        return choices[int(self.rng.integers(len(choices)))]

    def yes(self, chance: float = 0.5) -> bool:
        return bool(self.rng.random() < chance)

    def upto(self, most: int, least: int = 1) -> int:
        return int(self.rng.integers(least, max(least, most) + 1))

    def zero(self) -> int:
        return self.low + self.any_of((0, 128, 255, self.upto(255, 0), self.upto(255, 0)))

    def scale(self, about: float) -> float:
        if self.yes(0.1):
            return float(2.0 ** round(math.log2(about)))  # of which ties are common
        return float(about * np.exp(self.rng.normal(0, 0.5)))

    def channels(self) -> int:
        return self.any_of(CHANNELS)

    def name(self, kind: str) -> str:
        self._count += 1
        return f"{kind.lower()}{self._count}"

    def pick(self, rank: int | None = None, largest: int = MOST) -> Value | None:
        """One of the last values, the very last more often than not; None: no such one."""
        fitting = [
            each
            for each in self.values[-4:]
            if rank in (None, len(each.shape)) and math.prod(each.shape) <= largest
        ]
        if not fitting:
            return None
        return fitting[-1] if self.yes(0.6) else self.any_of(fitting)

    def add(self, value: Value) -> None:
        self.values.append(value)

    def input(self, name: str) -> None:
        """An input: floats that are quantized, or codes."""
        match self.any_of(("image",) * 9 + ("rows", "vector", "line")):
            case "image":
                batch = self.any_of((1, 1, 1, 1, 2, 3))
                shape: tuple[int, ...] = (batch, self.channels(), self.upto(14), self.upto(14))
            case "rows":
                shape = (self.any_of((1, 1, 2)), self.upto(12), self.channels())
            case "line":
                shape = (1, self.channels(), self.upto(30))
            case _:
                shape = (self.any_of((1, 1, 3)), self.upto(100))
        scale = self.scale(0.03)
        if not self.yes(0.15):
            self.add(self.quantized(self.model.input(name, *shape), shape, scale))
            return
        dtype = TensorProto.INT8 if self.low else TensorProto.UINT8
        self.model.input(name, *shape, dtype=dtype)
        codes = self.model.const(scale, "float32"), self.model.const(self.zero(), self.model.dtype)
        self.add(self._dequantized(name, f"{name}_dq", shape, scale, codes))

    def quantized(
        self, name: str, shape: tuple[int, ...], scale: float, zero: int | None = None
    ) -> Value:
        if self.words and zero is None and self.yes(0.8):
            dtype, middle = self.any_of((("int16", 0), ("int16", 0), ("uint16", 1 << 15)))
            ends = -(1 << 15), (1 << 15) - 1
            zero = middle + self.any_of((0, 0, 0, self.upto(500, -500), *ends))
            out = self.model.q(name, scale / 200, zero, dtype)
        else:
            out = self.model.q(name, scale, self.zero() if zero is None else zero)
        _, s, z = self.model.nodes[-1].input
        return Value(out, shape, scale, (s, z))

    def moved(self, name: str, shape: tuple[int, ...], x: Value) -> Value:
        """The result of what keeps codes: mostly by the operand's scale and zero point, now and
        then not quantized at all.
        """
        if self.yes(0.7) and x.codes[0]:
            self.model.op("QuantizeLinear", name, *x.codes, out=f"{name}_q")
            return self._dequantized(f"{name}_q", f"{name}_dq", shape, x.scale, x.codes)
        if self.yes(0.3):
            return self.known(name, shape, x)
        return self.quantized(name, shape, self.scale(x.scale))

    def known(self, name: str, shape: tuple[int, ...], x: Value) -> Value:
        """A value that is not quantized, of which the scale is known all the same."""
        self.model.scales[name] = x.scale
        return Value(name, shape, x.scale, x.codes)

    def constant(self, shape: tuple[int, ...]) -> Value:
        """Floats or codes."""
        scale = self.scale(0.02)
        if self.yes(0.3):
            floats = self.rng.normal(0, scale * 50, shape)
            return Value(self.model.const(floats, "float32"), shape, scale)
        if self.words and self.yes():
            return self._constant_words(shape, scale)
        numbers = self.rng.integers(self.low, self.low + 256, shape)
        codes = self.model.const(numbers, self.model.dtype)
        given = self.model.const(scale, "float32"), self.model.const(self.zero(), self.model.dtype)
        return self._dequantized(codes, f"{codes}_dq", shape, scale, given)

    def _constant_words(self, shape: tuple[int, ...], scale: float) -> Value:
        """Codes without a sign, whose zero point may be left out."""
        codes = self.model.const(self.rng.integers(0, 1 << 16, shape), "uint16")
        given = [self.model.const(scale / 200, "float32")]
        if self.yes():
            given.append(self.model.const(self.upto((1 << 16) - 1, 0), "uint16"))
        out = self.model.op("DequantizeLinear", codes, *given, out=f"{codes}_dq")
        return Value(out, shape, scale)

    def _dequantized(
        self, codes: str, out: str, shape: tuple[int, ...], scale: float, given: tuple[str, str]
    ) -> Value:
        self.model.op("DequantizeLinear", codes, *given, out=out)
        self.model.scales[out] = float(np.float32(scale))
        return Value(out, shape, scale, given)

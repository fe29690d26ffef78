"""Random convolutions and products, and what stands around them in networks."""

import math
from typing import Any

import numpy as np

from tests.compiler.random_nets.draws import MOST, Value
from tests.compiler.random_nets.functions import Functions


class Products(Functions):
    """Each method adds an operator or a few, or says that there is nothing it could read."""

    def product(
        self, kind: str, x: Value, shape: tuple[int, ...], *, axis: int = 0, bias: bool = True,
        **attrs: Any,
    ) -> tuple[str, float]:  # fmt: skip
        """A product with constant weights: the result's name, and a scale that fits it."""
        m, channels = self.model, shape[axis]
        most = self.any_of((127, 127, 127, 20, 1))
        codes = self.rng.integers(-most, most + 1, shape)
        if self.narrow:
            codes = np.clip(codes, -128, 127) >> 4
        if self.yes(0.2):  # a channel that is nothing
            np.moveaxis(codes, axis, 0)[self.upto(channels) - 1] = 0
        if self.yes(0.1):
            codes[...] = 7 if self.narrow else 127
        per_channel = self.yes(0.7)
        scales = self.rng.random(channels if per_channel else ()) * 0.01 + 0.001
        scales = np.asarray(scales, np.float32)
        along: dict[str, Any] = {"axis": axis} if per_channel else {}
        name, zeros = m.const(codes, "int8"), m.const(np.zeros_like(scales), "int8")
        weight = m.op(
            "DequantizeLinear", name, m.const(scales, "float32"), zeros, out=f"{name}_dq", **along
        )
        spread = math.sqrt(codes.size / channels) * float(codes.std() * scales.mean())
        about = spread * x.scale * 1.75 or x.scale
        operands = [x.name, weight]
        if bias and self.yes(0.8):
            operands.append(self._bias(np.float32(x.scale) * scales, channels, about * 40))
        return m.op(kind, *operands, out=self.name(kind), **attrs), about

    def _bias(self, steps: np.ndarray, channels: int, size: float) -> str:
        m = self.model
        codes = self.rng.normal(0, size / float(np.mean(steps)), channels).astype(np.int32)
        name, zeros = m.const(codes, "int32"), m.const(np.zeros_like(steps), "int32")
        along: dict[str, Any] = {"axis": 0} if steps.ndim else {}
        return m.op(
            "DequantizeLinear", name, m.const(steps, "float32"), zeros, out=f"{name}_dq", **along
        )

    def conv(self) -> bool:
        x = self.pick(4)
        if x is None:
            return False
        n, c, h, w = x.shape
        oc, group, kernel = self._filter(c)
        dilations = [self.any_of((1, 1, 1, 1, 2, 3)) for _ in range(2)]
        both = self.any_of((1, 1, 1, 2, 2, 3))
        strides = [both, both] if self.yes(0.8) else [self.upto(3), self.upto(3)]
        reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
        if self.yes(0.6):
            pads = [*(r // 2 for r in reach), *(r - r // 2 for r in reach)]
        else:
            more = self.any_of((0, 0, 0, 1))
            pads = [self.upto(reach[i % 2] + more, 0) for i in range(4)]
        rooms = [e + pads[i] + pads[i + 2] - reach[i] - 1 for i, e in enumerate((h, w))]
        sizes = [room // stride + 1 for room, stride in zip(rooms, strides, strict=True)]
        if min(rooms) < 0 or n * oc * math.prod(sizes) > MOST:
            return False
        out, about = self.product(
            "Conv", x, (oc, c // group, *kernel), pads=pads, strides=strides, dilations=dilations,
            group=group,
        )  # fmt: skip
        return self.finish(out, (n, oc, *sizes), about)

    def _filter(self, c: int) -> tuple[int, int, tuple[int, int]]:
        """Output channels, groups, and the kernel's size."""
        match self.any_of(("plain",) * 4 + ("point",) * 2 + ("depth",) * 3 + ("group",)):
            case "plain":
                kernel = self.any_of((1, 2, 3, 3, 3, 5)), self.any_of((1, 2, 3, 3, 3, 5, 7))
                return self.channels(), 1, kernel
            case "point":
                return self.channels(), 1, (1, 1)
            case "depth":
                kernel = self.any_of((3, 3, 3, 5, 1, 2)), self.any_of((3, 3, 3, 5, 1, 4))
                return c * self.any_of((1, 1, 1, 1, 2, 3)), c, kernel
            case _:
                group = self.any_of([d for d in range(1, c + 1) if c % d == 0])
                return group * self.upto(6), group, (self.any_of((1, 3)), self.any_of((1, 3, 3)))

    def conv1d(self) -> bool:
        x = self.pick(3)
        if x is None:
            return False
        n, c, length = x.shape
        depthwise = self.yes(0.3)
        oc, group = (c, c) if depthwise else (self.channels(), 1)
        k, d, s = self.any_of((1, 2, 3, 5, 9)), self.any_of((1, 1, 2, 4)), self.any_of((1, 1, 2))
        reach = (k - 1) * d
        pads = [self.upto(reach, 0), self.upto(reach, 0)]
        if length + sum(pads) <= reach:
            return False
        out, about = self.product(
            "Conv", x, (oc, c // group, k), group=group, pads=pads, strides=[s], dilations=[d]
        )
        return self.finish(out, (n, oc, (length + sum(pads) - reach - 1) // s + 1), about)

    def conv_transpose(self) -> bool:
        x = self.pick(4, 500)
        if x is None:
            return False
        n, c, h, w = x.shape
        oc, k, s = self.any_of((1, 3, 8)), self.any_of((2, 3, 4)), self.any_of((1, 2))
        out, about = self.product("ConvTranspose", x, (c, oc, k, k), axis=1, strides=[s, s])
        return self.finish(out, (n, oc, (h - 1) * s + k, (w - 1) * s + k), about)

    def residual(self) -> bool:
        """A convolution's result and another image are added."""
        if not self.conv():
            return False
        y = self.values[-1]
        same = [each for each in self.values[:-1] if each.shape == y.shape]
        if same and self.yes():
            other = self.any_of(same)
        else:
            out, about = self.product("Conv", y, (y.shape[1], y.shape[1], 1, 1))
            other = self.quantized(out, y.shape, self.scale(about))
        kind = self.any_of(("Add", "Add", "Add", "Add", "Mul", "Sub"))
        pair = [y.name, other.name]
        if self.yes():
            pair.reverse()
        name = self.model.op(kind, *pair, out=self.name(kind))
        about = y.scale * other.scale * 40 if kind == "Mul" else max(y.scale, other.scale) * 1.4
        return self.finish(name, y.shape, about)

    def gate(self) -> bool:
        """Squeeze and excite."""
        x = self.pick(4)
        if x is None:
            return False
        n, c, _, _ = x.shape
        pool = self.model.op("GlobalAveragePool", x.name, out=self.name("squeeze"))
        squeezed = self.quantized(pool, (n, c, 1, 1), self.scale(x.scale / 2))
        out, about = self.product("Conv", squeezed, (c, c, 1, 1))
        excited = self.quantized(out, squeezed.shape, self.scale(about))
        open_ = self.activation(self.any_of(("Sigmoid", "HardSigmoid")), excited.name)
        gate = self.quantized(open_, squeezed.shape, 1 / 255, self.low)
        name = self.model.op("Mul", x.name, gate.name, out=self.name("gate"))
        self.add(self.quantized(name, x.shape, self.scale(x.scale)))
        return True

    def gemm(self) -> bool:
        x = self.pick()
        if x is None or math.prod(x.shape[1:]) > 1500:
            return False
        if len(x.shape) > 2:
            flat = self.model.op("Flatten", x.name, out=self.name("flat"), axis=1)
            x = self.known(flat, (x.shape[0], math.prod(x.shape[1:])), x)
        (n, k), out = x.shape, self.channels()
        match self.any_of(("Gemm", "Gemm", "turned", "MatMul")):
            case "Gemm":
                name, about = self.product("Gemm", x, (out, k), transB=1)
            case "turned":
                name, about = self.product("Gemm", x, (k, out), axis=1)
            case _:
                name, about = self.product("MatMul", x, (k, out), axis=1, bias=False)
        return self.finish(name, (n, out), about)

    def attention(self) -> bool:
        """Products of activations, with a softmax between them now and then."""
        x = self.pick(3)
        if x is None:
            return False
        m, (n, t, c) = self.model, x.shape
        turned = m.op("Transpose", x.name, out=self.name("turned"), perm=[0, 2, 1])
        name = m.op("MatMul", x.name, turned, out=self.name("scores"))
        y = self.quantized(name, (n, t, t), self.scale(x.scale**2 * 120 * math.sqrt(c)))
        if self.yes():
            soft = m.op("Softmax", y.name, out=self.name("soft"), axis=-1)
            y = self.quantized(soft, y.shape, 1 / 256, self.low)
        if self.yes():
            self.add(y)
            return True
        name = m.op("MatMul", y.name, x.name, out=self.name("mixed"))
        self.add(self.quantized(name, x.shape, self.scale(x.scale * y.scale * 128 * math.sqrt(t))))
        return True

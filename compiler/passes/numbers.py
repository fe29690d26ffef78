"""Codes or floats: all that the rules of operators must know of the difference."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.codes import FloatFinish, IntFinish, Quant
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.tensor import QMAX, QMIN, WORD, Tensor
from edgekiln.compiler.passes.walk import OperatorEpilogue, Walk, is_operator, quantize_scalar
from edgekiln.compiler.passes.words import largest_sums

_WEIGHTS = ("int8", "uint8", "int4", "uint4")  # the last two as `ml_dtypes` names them
_MOST_PRODUCT = 128 * 255  # of a weight and an activation without its zero point
_LARGE_BIAS = 1 << 30  # products alone, of few enough weights, stay below
_LARGE_SUMS = "32 bits may not hold its sums of codes of 16 bits: clip them, or give it 8 bits"


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """The weights of a convolution or a dense layer."""

    values: NDArray[np.generic]
    scale: NDArray[np.float32] | None = None  # (OC,); None: of floats
    out_axis: int = 0  # of the values


class Numbers(ABC):
    """What a rule asks about the numbers that it is to compute with."""

    has_codes: ClassVar[bool]
    kernel: ClassVar[str]  # "… has no {kernel}"

    @abstractmethod
    def source(self, walk: Walk, name: str) -> Tensor | None:
        """The tensor that kernels read for an ONNX value; None if they cannot."""

    @abstractmethod
    def operand(self, walk: Walk, name: str, rank: int) -> Tensor | None:
        """`source`, or a constant as a tensor of `rank` axes."""

    @abstractmethod
    def epilogue(self, walk: Walk, name: str) -> OperatorEpilogue | None:
        """What follows a value that nobody else uses; None if its numbers end there."""

    @abstractmethod
    def moved(self, walk: Walk, source: Tensor, output: str) -> str:
        """The tensor for a node's output that holds values of `source`, in its quantization."""

    @abstractmethod
    def code(self, value: float, like: Tensor) -> float:
        """The code that stands for `value` in a tensor quantized like this one."""

    @abstractmethod
    def weights(self, walk: Walk, name: str, out_axis: int) -> Weights | str:
        """A constant operand with its output channels on one axis, or why it is not usable."""

    @abstractmethod
    def bias(
        self, walk: Walk, name: str, x: Tensor, weights: Weights, channels: int
    ) -> NDArray[np.generic] | str:
        """One number a channel, zeros for no bias (""); or why it is not usable."""

    @abstractmethod
    def multiplier(
        self, x: Tensor, weights: Weights, quant: Quant | None
    ) -> NDArray[np.float32] | None:
        """What sums are multiplied by for a result quantized so, one number a channel."""


class CodeNumbers(Numbers):
    """Quantized numbers: a float value of the model is a view of codes."""

    has_codes = True
    kernel = "integer kernel"

    def source(self, walk: Walk, name: str) -> Tensor | None:
        return walk.graph.tensors[walk.view[name]] if name in walk.view else None

    def operand(self, walk: Walk, name: str, rank: int) -> Tensor | None:
        if name not in walk.weights:
            return self.source(walk, name)
        constant = walk.weights[name]
        # Kernels of two activations know one scale an operand.
        if constant.scale.size > 1 or constant.values.dtype.name not in QMIN:
            return None
        shape = (*[1] * (rank - constant.values.ndim), *constant.values.shape)
        key = f"{name}:codes"
        quant = Quant(scale=float(constant.scale[0]), zero_point=int(constant.zero_point[0]))
        walk.graph.constants[key] = constant.values.reshape(shape)
        dtype = constant.values.dtype.name
        return walk.graph.put(Tensor(name=key, shape=shape, dtype=dtype, quant=quant))

    def epilogue(self, walk: Walk, name: str) -> OperatorEpilogue | None:
        """The chain [Relu | Clip]… → QuantizeLinear."""
        bounds: list[tuple[float, float]] = []
        absorbed: list[Node] = []
        while (user := walk.only_user(name)) is not None:
            absorbed.append(user)
            if is_operator(user, "QuantizeLinear") and walk.per_tensor(user):
                return _quantized(walk, user, bounds, absorbed)
            bound = walk.clip_range(user)
            if bound is None:
                return None
            bounds.append(bound)
            name = user.name
        return None

    def moved(self, walk: Walk, source: Tensor, output: str) -> str:
        name = f"{output}:int"
        shape = walk.graph.tensors[output].shape
        walk.graph.put(Tensor(name=name, shape=shape, dtype=source.dtype, quant=source.quant))
        walk.view[output] = name
        return name

    def code(self, value: float, like: Tensor) -> float:
        assert like.quant is not None, like.name
        return quantize_scalar(value, like.quant, like.dtype)

    def weights(self, walk: Walk, name: str, out_axis: int) -> Weights | str:
        """int8 values and a scale for each output channel."""
        weight = walk.weights.get(name)
        if weight is None:
            return "its weights are not quantized constants"
        if weight.values.dtype.name not in _WEIGHTS:
            return f"its weights are {weight.values.dtype}"
        # The multiplier of a sum is one number: scales along another axis cannot be taken out of
        # it.
        if weight.scale.size > 1 and weight.axis != out_axis % weight.values.ndim:
            return "its weight scales do not run along the output channels"
        shape = [1] * weight.values.ndim
        shape[out_axis] = -1
        # uint8 weights with a zero point of 128 are int8 ones without any.
        centred = weight.values.astype(np.int32) - weight.zero_point.astype(np.int32).reshape(shape)
        # Without its zero point an asymmetric weight may need nine bits.
        if centred.min(initial=0) < -128 or centred.max(initial=0) > 127:
            return "its asymmetric weights do not fit int8"
        scale = np.broadcast_to(weight.scale, weight.values.shape[out_axis])
        return Weights(values=centred.astype(np.int8), scale=scale, out_axis=out_axis)

    def bias(
        self, walk: Walk, name: str, x: Tensor, weights: Weights, channels: int
    ) -> NDArray[np.generic] | str:
        """int32, at the scale of the sums: s_x · s_w."""
        value = walk.constant(name) if name else np.zeros(1, np.float32)
        if value is None:
            return "its bias is not constant"
        product = self.multiplier(x, weights, None)
        # A bias at another scale, or of floats, is brought to that of the sums, in float64: an
        # int32 has more digits than a float32.
        steps = value.astype(np.float64).reshape(-1) / product.astype(np.float64)
        stored = walk.weights.get(name)
        # The quantizer stored it at this very scale: its integers are taken as they are, for a
        # division of the rounded floats could give their neighbours.
        if stored is not None and np.allclose(stored.scale, product, rtol=1e-5, atol=0):
            steps = stored.values.astype(np.float64).reshape(-1)
            steps -= stored.zero_point.astype(np.float64)
        whole = np.rint(steps)
        # What the products add to it must not leave 32 bits, either.
        most = np.abs(whole).max(initial=0)
        if x.dtype == WORD:
            sums = np.abs(whole) + largest_sums(walk, x, weights.values, weights.out_axis)
            fits = sums.max(initial=0) <= np.iinfo(np.int32).max
            return np.broadcast_to(whole.astype(np.int32), channels) if fits else _LARGE_SUMS
        products = weights.values.size // channels * _MOST_PRODUCT
        if not most <= _LARGE_BIAS and not most + products <= np.iinfo(np.int32).max:
            return "its bias does not fit 32 bits at the scale of the sums"
        return np.broadcast_to(whole.astype(np.int32), channels)

    def multiplier(self, x: Tensor, weights: Weights, quant: Quant | None) -> NDArray[np.float32]:
        """ONNX Runtime's own arithmetic (QLinearConv): (s_x · s_w) / s_y, in float32."""
        assert x.quant is not None, x.name
        assert weights.scale is not None, x.name
        product = np.float32(x.quant.scale) * weights.scale
        return (product if quant is None else product / np.float32(quant.scale)).astype(np.float32)


class FloatNumbers(Numbers):
    """float32: a value is its own code."""

    has_codes = False
    kernel = "kernel"

    def source(self, walk: Walk, name: str) -> Tensor | None:
        tensor = walk.graph.tensors.get(name)
        known = tensor is not None and tensor.dtype == "float32" and tensor.quant is None
        return tensor if known else None

    def operand(self, walk: Walk, name: str, rank: int) -> Tensor | None:
        value = walk.graph.constants.get(name)
        if value is None or value.dtype.name != "float32" or value.ndim > rank:
            return self.source(walk, name)
        shape = (*[1] * (rank - value.ndim), *value.shape)
        key = f"{name}:rank{rank}"
        walk.graph.constants[key] = value.reshape(shape)
        return walk.graph.put(Tensor(name=key, shape=shape, dtype="float32"))

    def epilogue(self, walk: Walk, name: str) -> OperatorEpilogue | None:
        """The chain [Relu | Clip]…, which may be empty."""
        finish = FloatFinish()
        absorbed: list[Node] = []
        while (user := walk.only_user(name)) is not None:
            bound = walk.clip_range(user)
            if bound is None:
                break
            finish = finish.clipped(*bound)
            absorbed.append(user)
            name = user.name
        return OperatorEpilogue(
            output=name, quant=None, dtype="float32", finish=finish, absorbed=tuple(absorbed)
        )

    def moved(self, walk: Walk, source: Tensor, output: str) -> str:
        del walk, source
        return output

    def code(self, value: float, like: Tensor) -> float:
        del like
        return value

    def weights(self, walk: Walk, name: str, out_axis: int) -> Weights | str:
        del out_axis
        value = walk.constant(name)
        if value is None:
            return "its weights are not constant"
        return Weights(values=np.ascontiguousarray(value, np.float32))

    def bias(
        self, walk: Walk, name: str, x: Tensor, weights: Weights, channels: int
    ) -> NDArray[np.generic] | str:
        del x, weights
        value = walk.constant(name) if name else np.zeros(channels, np.float32)
        if value is None or value.size not in (1, channels):
            return "its bias is not one constant a channel"
        return np.broadcast_to(value.reshape(-1).astype(np.float32), channels)

    def multiplier(
        self, x: Tensor, weights: Weights, quant: Quant | None
    ) -> NDArray[np.float32] | None:
        del x, weights, quant
        return None


def _quantized(
    walk: Walk, q: Node, bounds: list[tuple[float, float]], absorbed: list[Node]
) -> OperatorEpilogue:
    quant, dtype = walk.scale(q), walk.quantized_dtype(q)
    finish = IntFinish(qmin=QMIN[dtype], qmax=QMAX[dtype])
    for bound in bounds:
        # Quantization is monotone, so clipping before it and after it are the same.
        finish = finish.clipped(*(quantize_scalar(limit, quant, dtype) for limit in bound))
    return OperatorEpilogue(
        output=q.name, quant=quant, dtype=dtype, finish=finish, absorbed=tuple(absorbed)
    )

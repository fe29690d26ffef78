"""Convolutions and products: exact int32 sums, held in float32, or float64 where they are larger.

A sum of whole numbers is exact in float32, in whatever order it is computed, while no partial sum
leaves ±2²⁴. The weights and the range of the codes say how far sums can go.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from edgekiln.compiler.qat.node import QatNode
from edgekiln.compiler.qat.numbers import LearnedBias, WeightCodes
from edgekiln.compiler.qat.values import Pending, QuantizedValue, real
from edgekiln.compiler.qat.windows import padded

if TYPE_CHECKING:
    from torch import Tensor

    from edgekiln.compiler.qat.node import Operand, Value

_EXACT = float(2**24)
_Product = Callable[["Tensor", "Tensor", "Tensor | None"], "Tensor"]  # x, weights, (OC,) bias


def conv(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """Conv over one or two axes."""
    x, weight, bias = _three(operands)
    axes = len(node.attributes.get("kernel_shape", ())) or _rank_of_weights(node, weight) - 2
    if axes not in (1, 2):
        raise node.refused(f"it is a convolution over {axes} axes")
    convolve = (F.conv1d, F.conv2d)[axes - 1]

    def product(steps: "Tensor", weights: "Tensor", start: "Tensor | None") -> "Tensor":
        inside, pads = padded(node, steps, tuple(weights.shape[2:]), 0.0)
        sums: Tensor = convolve(
            inside, weights, start, node.integers("strides", [1] * axes), pads,
            node.integers("dilations", [1] * axes), int(node.attributes.get("group", 1)),
        )  # fmt: skip
        return sums

    return [_linear(node, product, (x, weight, bias), out_axis=0, trailing=axes)]


def gemm(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """Gemm, as `prepare` leaves it: without factors, the left operand as it is."""
    transposed = bool(node.attributes.get("transB", 0))
    if node.attributes.get("transA", 0) or any(
        node.attributes.get(name, 1.0) != 1.0 for name in ("alpha", "beta")
    ):
        raise node.refused("it has factors, or its left operand is transposed")

    def product(steps: "Tensor", weights: "Tensor", start: "Tensor | None") -> "Tensor":
        return F.linear(steps, weights if transposed else weights.t(), start)

    return [_linear(node, product, _three(operands), out_axis=0 if transposed else 1, trailing=0)]


def matmul(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """MatMul: by constant weights, or of two activations."""
    x, other = operands[0], operands[1]
    if isinstance(x, QuantizedValue) and isinstance(other, QuantizedValue):
        return [_product_of_codes(x, other)]

    def product(steps: "Tensor", weights: "Tensor", start: "Tensor | None") -> "Tensor":
        del start  # a MatMul has none
        return torch.matmul(steps, weights)

    return [_linear(node, product, (x, other, None), out_axis=1, trailing=0)]


def _linear(
    node: QatNode,
    product: _Product,
    operands: "tuple[Operand, Operand, Operand]",
    *,
    out_axis: int,
    trailing: int,
) -> "Value":
    """Args:
    out_axis: of the weights, along which the channels of the result lie.
    trailing: axes of the result behind its channels.
    """
    x, weight, bias = operands
    if isinstance(weight, WeightCodes) and isinstance(x, QuantizedValue):
        return _of_codes(product, x, weight, bias, (out_axis, trailing))
    if x is None or isinstance(x, WeightCodes | LearnedBias):
        raise node.refused("its first operand is constant")
    if isinstance(weight, WeightCodes | LearnedBias):
        raise node.refused("it multiplies quantized weights by floats")
    given = real(x)
    start = _constant(node, 2, given).reshape(-1) if 2 in node.constants else None
    return product(given, _constant(node, 1, given) if weight is None else real(weight), start)


def _of_codes(
    product: _Product,
    x: QuantizedValue,
    weight: WeightCodes,
    bias: "Operand",
    place: tuple[int, int],
) -> Pending:
    out_axis, trailing = place
    of_sums = x.scale * weight.scale  # (OC,) or one
    start = bias(of_sums) if isinstance(bias, LearnedBias) else None
    most = _most(weight.steps.detach(), x, out_axis)
    if start is not None:
        most = most + start.detach().abs().float()
    if float(most.max()) < _EXACT:
        sums = product(x.steps, weight.steps, None if start is None else start.float())
    else:
        # As the program does it before it multiplies: one rounding of the int32.
        sums = product(x.steps.double(), weight.steps.double(), start).float()

    def in_steps(scale: "Tensor | None") -> "tuple[Tensor, Tensor]":
        # float32 all along: (s_x · s_w) / s_y.
        factor = of_sums if scale is None else of_sums / scale
        return sums, factor.reshape(-1, *[1] * trailing)

    return Pending(in_steps=in_steps)


def _most(weights: "Tensor", x: QuantizedValue, out_axis: int) -> "Tensor":
    """How far from zero a partial sum of each channel can be, (OC,)."""
    axes = [axis for axis in range(weights.ndim) if axis != out_axis]
    above, below = weights.clamp(min=0).sum(axes), -weights.clamp(max=0).sum(axes)
    lowest, highest = x.largest
    return torch.maximum(above * highest + below * lowest, above * lowest + below * highest)


def _product_of_codes(a: QuantizedValue, b: QuantizedValue) -> Pending:
    terms = a.steps.shape[-1]
    if terms * max(a.largest) * max(b.largest) < _EXACT:
        sums = torch.matmul(a.steps, b.steps)
    else:
        sums = torch.matmul(a.steps.double(), b.steps.double()).float()

    def in_steps(scale: "Tensor | None") -> "tuple[Tensor, Tensor]":
        of_sums = a.scale * b.scale
        return sums, of_sums if scale is None else of_sums / scale

    return Pending(in_steps=in_steps)


def _three(operands: "Sequence[Operand]") -> "tuple[Operand, Operand, Operand]":
    return operands[0], operands[1], operands[2] if len(operands) > 2 else None


def _rank_of_weights(node: QatNode, weight: "Operand") -> int:
    if isinstance(weight, WeightCodes):
        return weight.steps.ndim
    return node.constants[1].ndim if 1 in node.constants else 0


def _constant(node: QatNode, place: int, like: "Tensor") -> "Tensor":
    return torch.from_numpy(node.constants[place].copy()).to(like)

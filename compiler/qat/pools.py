"""Pools: maxima of codes, and means, which are exact sums times one factor."""

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from edgekiln.compiler.qat.node import QatNode
from edgekiln.compiler.qat.values import Pending, QuantizedValue
from edgekiln.compiler.qat.windows import pads_of, torch_pads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from edgekiln.compiler.qat.node import Operand, Value

_EXACT = float(2**24)


def max_pool(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """The largest code of each window, in the quantization of its operand."""
    x = _codes(node, operands)
    kernel = node.integers("kernel_shape", ())
    before, after = pads_of(node, tuple(x.steps.shape[2:]), tuple(kernel))
    # What lies outside is never the largest: it is no number at all.
    inside = F.pad(x.steps, torch_pads(before, after), value=float("-inf"))
    strides, dilations = (node.integers(name, [1, 1]) for name in ("strides", "dilations"))
    return [x.moved(F.max_pool2d(inside, kernel, strides, dilation=dilations))]


def global_max_pool(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """The largest code of each channel."""
    x = _codes(node, operands)
    return [x.moved(x.steps.amax((2, 3), keepdim=True))]


def average_pool(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """The mean of each window, over as many values as ONNX counts."""
    x = _codes(node, operands)
    kernel, strides = node.integers("kernel_shape", ()), node.integers("strides", [1, 1])
    extents = tuple(x.steps.shape[2:])
    before, after = pads_of(node, extents, tuple(kernel))
    inside = F.pad(x.steps, torch_pads(before, after))

    def sums(values: "Tensor") -> "Tensor":
        return F.avg_pool2d(values, kernel, strides, divisor_override=1)

    # Padding counts where the model says so; what a rounded-up size reads beyond it never does.
    counted = torch.ones((1, 1, *extents), device=inside.device)
    if node.attributes.get("count_include_pad", 0):
        pads = node.integers("pads", [0] * 4)
        counted = F.pad(counted, torch_pads(pads[:2], pads[2:]), value=1.0)
        beyond = [have - own for have, own in zip(after, pads[2:], strict=True)]
        counted = F.pad(counted, torch_pads([0, 0], beyond))
    else:
        counted = F.pad(counted, torch_pads(before, after))
    return [_mean(node, x, sums(inside), sums(counted), kernel[0] * kernel[1])]


def global_average_pool(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """The mean of each channel of an image."""
    return [_mean_over(node, _codes(node, operands), [2, 3], keep=True)]


def reduce_mean(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """The mean of an image, or of the tokens of (N, T, C)."""
    x = _codes(node, operands)
    axes = node.values(1) or node.integers("axes", ())
    wanted = sorted(axis % x.steps.ndim for axis in axes)
    if wanted != {3: [1], 4: [2, 3]}.get(x.steps.ndim):
        raise node.refused("it is over other axes than those of the image or the tokens")
    return [_mean_over(node, x, wanted, keep=bool(node.attributes.get("keepdims", 1)))]


def _mean_over(node: QatNode, x: QuantizedValue, axes: list[int], *, keep: bool) -> Pending:
    count = 1
    for axis in axes:
        count *= x.steps.shape[axis]
    counts = torch.tensor(float(count), device=x.steps.device)
    return _mean(node, x, x.steps.sum(axes, keepdim=keep), counts, count)


def _mean(node: QatNode, x: QuantizedValue, sums: "Tensor", counts: "Tensor", most: int) -> Pending:
    if most * max(x.largest) >= _EXACT:
        raise node.refused(f"sums of {most} values are not exact in float32")

    def in_steps(scale: "Tensor | None") -> "tuple[Tensor, Tensor]":
        if scale is None:
            return sums, x.scale / counts
        # Of equal scales one rounding is left, as in the integer program.
        if bool(x.scale == scale):
            return sums, 1 / counts
        return sums, x.scale / (scale * counts)

    return Pending(in_steps=in_steps)


def _codes(node: QatNode, operands: "Sequence[Operand]") -> QuantizedValue:
    x = operands[0]
    if not isinstance(x, QuantizedValue):
        raise node.refused("its operand is not quantized")
    return x

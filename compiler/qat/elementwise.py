"""Sums, products, clips, and functions of one value, which are tables of codes."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekiln.compiler.qat.node import QatNode
from edgekiln.compiler.qat.numbers import LearnedBias, WeightCodes
from edgekiln.compiler.qat.rounding import fused_sum, tabulated
from edgekiln.compiler.qat.values import Pending, QuantizedValue, real

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from edgekiln.compiler.qat.node import Operand, Value

_INFINITY = float("inf")
# Functions of floats, as they stand between the last product and an output.
_OF_TWO_FLOATS: "Mapping[str, Callable[[Tensor, Tensor], Tensor]]" = {
    "Add": torch.add, "Div": torch.div, "Mul": torch.mul, "Sub": torch.sub,
}  # fmt: skip
_OF_FLOATS: "Mapping[str, Callable[[Tensor], Tensor]]" = {
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Neg": torch.neg,
}


def add(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """A sum of two activations: a fused multiply-add of the leading one on the rounded other.

    Leading is the convolution that the program adds to before it stores it (the later of two), else
    the first operand.
    """
    pair = _two_codes(operands)
    if pair is None:
        return _one_value(node, operands, "Add")
    a, b = reversed(pair) if node.leading else pair
    # The program broadcasts the second operand.
    a, b = (b, a) if a.steps.numel() < b.steps.numel() else (a, b)

    def in_steps(scale: "Tensor | None") -> "tuple[Tensor, Tensor]":
        if scale is None:
            return real(a) + real(b), _one(a)
        ratios = _ratio(a.scale, scale), _ratio(b.scale, scale)
        return fused_sum(a.steps, ratios[0], b.steps, ratios[1]), _one(a)

    return [Pending(in_steps=in_steps)]


def mul(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """A product of two activations: exact steps times one factor."""
    pair = _two_codes(operands)
    if pair is None:
        return _one_value(node, operands, "Mul")
    a, b = pair

    def in_steps(scale: "Tensor | None") -> "tuple[Tensor, Tensor]":
        if scale is None:
            return real(a) * real(b), _one(a)
        product = a.scale.double() * b.scale.double()
        return a.steps * b.steps, (product / scale.double()).float()

    return [Pending(in_steps=in_steps)]


def clip(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """Relu, or Clip with constant bounds."""
    x, kind = operands[0], node.proto.op_type
    low = 0.0 if kind == "Relu" else node.number("min", 1, -_INFINITY)
    high = _INFINITY if kind == "Relu" else node.number("max", 2, _INFINITY)
    low = min(low, high)  # where bounds cross, everything is the upper one
    if isinstance(x, QuantizedValue):
        return [requantized(x).clipped(low, high)]
    if isinstance(x, Pending):
        return [x.clipped(low, high)]
    return [_float(node, x).clamp(low, high)]


def function(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """A function of one value: of codes the entries of a table."""
    return _one_value(node, operands, node.proto.op_type)


def joined(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """A function of codes in several nodes: the entries of one table."""
    (x,) = operands
    if not isinstance(x, QuantizedValue):
        raise node.refused("its operand is not quantized")
    return [_table(node, x)]


def softmax(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """Softmax and LogSoftmax of floats, as at the end of a model."""
    x = operands[0]
    if isinstance(x, QuantizedValue):
        raise node.refused("its operand is quantized")
    default = -1 if node.opset >= 13 else 1
    axis = int(node.attributes.get("axis", default))
    value = _float(node, real(x) if isinstance(x, Pending) else x)
    if node.proto.op_type == "LogSoftmax":
        return [value.log_softmax(axis)]
    return [value.softmax(axis)]


def requantized(x: QuantizedValue) -> Pending:
    """The same numbers, for codes of another quantization."""

    def in_steps(scale: "Tensor | None") -> "tuple[Tensor, Tensor]":
        return x.steps, x.scale if scale is None else _ratio(x.scale, scale)

    return Pending(in_steps=in_steps)


def of_float(x: "Tensor") -> Pending:
    """Floats, for codes: by a true division."""

    def in_steps(scale: "Tensor | None") -> "tuple[Tensor, Tensor]":
        return x if scale is None else x / scale, torch.ones((), device=x.device)

    return Pending(in_steps=in_steps)


def _one_value(node: QatNode, operands: "Sequence[Operand]", kind: str) -> "list[Value]":
    """What is a function of one activation: its other operands are numbers."""
    given = [each for each in operands if each is not None]
    x = given[0] if given else None
    if any(each is not x for each in given):
        return _of_two_floats(node, operands, kind)
    if isinstance(x, QuantizedValue):
        if any(array.size != 1 for array in node.constants.values()):
            raise node.refused("it is no function of one number")
        return [_table(node, x)]
    value = _float(node, real(x) if isinstance(x, Pending) else x)
    if kind in _OF_FLOATS:
        return [_OF_FLOATS[kind](value)]
    return _of_two_floats(node, [value if each is x else each for each in operands], kind)


def _table(node: QatNode, x: QuantizedValue) -> Pending:
    """The function of each code that there is, and its differences in place of derivatives."""
    low, high = (int(end) for end in x.limits)
    scale = x.scale.detach().cpu().numpy()
    # Whole steps, and the places half a step beside each: (n,) and (n + 1,).
    whole = np.arange(low, high + 1, dtype=np.float32)
    between = np.arange(low, high + 2, dtype=np.float32) - np.float32(0.5)
    places = np.concatenate([whole, between]) * scale
    found = node.function(places)[0].astype(np.float32)
    # NaN becomes the lowest code, as in the program.
    values = np.nan_to_num(found[: len(whole)], nan=float(np.finfo(np.float32).min))
    beside = np.nan_to_num(found[len(whole) :])
    slopes = np.diff(beside)  # by the step
    tables = [
        torch.from_numpy(table.astype(np.float32)).to(x.steps.device)
        for table in (values, slopes, slopes * whole / scale)
    ]
    # What is no number, as in a training that diverges, has some entry.
    index = (x.steps.detach() - low).nan_to_num().long()
    return of_float(tabulated(index, x.steps, x.scale, (tables[0], tables[1], tables[2])))


def _of_two_floats(node: QatNode, operands: "Sequence[Operand]", kind: str) -> "list[Value]":
    """Sum or product of floats, of operations that the quantizer left alone."""
    operation = _OF_TWO_FLOATS.get(kind)
    if operation is None or len(operands) != 2:
        raise node.refused("there is none for floats")
    known = [
        real(each) for each in operands if isinstance(each, QuantizedValue | Pending | torch.Tensor)
    ]
    both = [
        known.pop(0)
        if place not in node.constants
        else torch.from_numpy(node.constants[place].copy()).to(known[0])
        for place in range(2)
        if known or place in node.constants
    ]
    return [operation(*both)]


def _two_codes(operands: "Sequence[Operand]") -> tuple[QuantizedValue, QuantizedValue] | None:
    a, b = (operands[0], operands[1]) if len(operands) == 2 else (None, None)
    return (a, b) if isinstance(a, QuantizedValue) and isinstance(b, QuantizedValue) else None


def _float(node: QatNode, x: "Operand") -> "Tensor":
    if x is None or isinstance(x, QuantizedValue | Pending | WeightCodes | LearnedBias):
        raise node.refused("its operand is no float")
    return x


def _ratio(numerator: "Tensor", denominator: "Tensor") -> "Tensor":
    """The quotient of two scales in float64, rounded to float32, as the program's is."""
    return (numerator.double() / denominator.double()).float()


def _one(like: QuantizedValue) -> "Tensor":
    return torch.ones((), device=like.steps.device)

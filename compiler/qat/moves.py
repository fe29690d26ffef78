"""What moves values: reshapes, transposes, concatenations, and any other move by its indices."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekiln.compiler.qat.elementwise import requantized
from edgekiln.compiler.qat.node import QatNode
from edgekiln.compiler.qat.values import Pending, QuantizedValue, real

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from edgekiln.compiler.qat.node import Operand, Value

    _Move = Callable[[QatNode, Tensor], Tensor]


def reshape(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """Reshape, Flatten, Squeeze and Unsqueeze."""
    return [_moved(node, operands[0], _reshaped)]


def transpose(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """Axes in another order."""

    def move(node: QatNode, x: "Tensor") -> "Tensor":
        return x.permute(node.integers("perm", range(x.ndim)[::-1]))

    return [_moved(node, operands[0], move)]


def identity(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """The values as they are."""
    return [_moved(node, operands[0], lambda _node, x: x)]


def concat(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """One behind the other. Codes of one quantization stay as they are, others are requantized."""
    codes = [each for each in operands if isinstance(each, QuantizedValue)]
    axis = int(node.attributes.get("axis", 0))
    if len(codes) < len(operands):
        floats = [
            real(e) for e in operands if isinstance(e, QuantizedValue | Pending | torch.Tensor)
        ]
        if len(floats) < len(operands):
            raise node.refused("an operand is a constant in floats")
        return [torch.cat(floats, axis)]
    steps = [each.steps for each in codes]
    # A constant has one sample for all.
    steps = [s.expand(max(map(len, steps)), *s.shape[1:]) if axis else s for s in steps]
    if all(each.same_quantization(codes[0]) for each in codes):
        return [codes[0].moved(torch.cat(steps, axis))]
    parts = [requantized(each.moved(s)) for each, s in zip(codes, steps, strict=True)]

    def in_steps(scale: "Tensor | None") -> "tuple[Tensor, Tensor]":
        pairs = [part.in_steps(scale) for part in parts]
        # Each with its own factor: the product is what one factor would give.
        values = torch.cat([value * factor for value, factor in pairs], axis)
        return values, torch.ones((), device=values.device)

    return [Pending(in_steps=in_steps)]


def by_index(node: QatNode, operands: "Sequence[Operand]") -> "list[Value]":
    """A move inside of each sample, whichever it is: where ONNX's reference puts the indices of the
    values, there go the values. What it fills with is no index.
    """
    x = operands[0]
    value = x.steps if isinstance(x, QuantizedValue) else _floats(node, x)
    # Where the shapes are the model's own, values may go from sample to sample.
    samples = () if node.whole else (len(value),)
    indices = _indices(node, tuple(value.shape[len(samples) :]))
    flat = value.reshape(*samples, -1)
    found: list[Value] = []
    for index in indices:
        chosen = torch.from_numpy(index).to(value.device)
        moved = flat[..., chosen.clamp(min=0).reshape(-1)].reshape(*samples, *index.shape)
        if (index < 0).any():
            moved = torch.where(chosen < 0, _fill(node, x), moved)
        found.append(x.moved(moved) if isinstance(x, QuantizedValue) else moved)
    return found


def _indices(node: QatNode, shape: tuple[int, ...]) -> "list[NDArray[np.int64]]":
    """Which value of a sample lies where, of each result: (…,) int64, -1 where none does."""
    # Numbered from 1 on: operators that fill do it with another number, made 0 here.
    numbers = np.arange(1, np.prod(shape, dtype=np.int64) + 1, dtype=np.float64)
    given = numbers.reshape(shape if node.whole else (1, *shape))
    found = [result.astype(np.float64) for result in node.move(given)]
    for result in found:
        apart = not node.whole and len(result) != 1
        if apart or (result != np.rint(result)).any():
            raise node.refused("it does more than to move values inside of a sample")
    return [(result if node.whole else result[0]).astype(np.int64) - 1 for result in found]


def _fill(node: QatNode, x: "Operand") -> float:
    value = node.number("value", 2, 0.0)
    if isinstance(x, QuantizedValue) and value != 0.0:
        raise node.refused(f"it fills with {value:g}")
    return value


def _reshaped(node: QatNode, x: "Tensor") -> "Tensor":
    shape = list(x.shape)
    match node.proto.op_type:
        case "Flatten":
            axis = int(node.attributes.get("axis", 1))
            axis = axis + len(shape) if axis < 0 else axis
            rows = int(np.prod(shape[:axis], dtype=np.int64))
            return x.reshape(rows, -1)
        case "Squeeze":
            axes = node.values(1) or node.integers("axes", ())
            gone = {a % len(shape) for a in axes} or {i for i, n in enumerate(shape) if n == 1}
            return x.reshape([n for i, n in enumerate(shape) if i not in gone])
        case "Unsqueeze":
            axes = node.values(1) or node.integers("axes", ())
            rank = len(shape) + len(axes)
            for axis in sorted(a % rank for a in axes):
                shape.insert(axis, 1)
            return x.reshape(shape)
    wanted = node.values(1)
    if wanted is None:
        raise node.refused("its shape is not constant")
    if not node.attributes.get("allowzero", 0):
        wanted = [shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return x.reshape(wanted)


def _moved(node: QatNode, x: "Operand", move: "_Move") -> "Value":
    if isinstance(x, QuantizedValue):
        return x.moved(move(node, x.steps))
    return move(node, _floats(node, x))


def _floats(node: QatNode, x: "Operand") -> "Tensor":
    if isinstance(x, Pending | torch.Tensor):
        return real(x)
    raise node.refused("it moves a constant")

"""Which nodes have an integer form: the operator table's limits, asked of one node.

What is quantized without one would stay float between two roundings to 8 bits, which costs
accuracy and time for nothing. So the quantizer leaves such a node alone, and says why.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.extents import Extent
from edgekiln.compiler.onnx_model.operator_row import (
    LARGEST_SCALE,
    MAX_LAYER_NORM_ROW,
    MAX_SOFTMAX_ROW,
    Operator,
)
from edgekiln.compiler.onnx_model.resize import REPEATING
from edgekiln.compiler.onnx_model.rewriting import ModelFacts

if TYPE_CHECKING:
    import onnx

NO_FORM = "has no integer form"
FARTHEST_CODED = 127 * LARGEST_SCALE
Shape = tuple[Extent, ...]


def obstacle(facts: ModelFacts, node: "onnx.NodeProto") -> str | None:
    """Why a node has no integer form; None when it has one."""
    row = operators.of(node)
    if row is None or not row.integer:
        return NO_FORM
    further = _FURTHER.get(row.integer)
    return _beyond_the_row(facts, node, row) or (further(facts, node) if further else None)


def _beyond_the_row(facts: ModelFacts, node: "onnx.NodeProto", row: Operator) -> str | None:
    """What the row itself says of types, axes, constants and attributes."""
    if node.output[0] not in facts.floats:
        return "does not compute float32"
    shape = facts.shapes.get(node.input[0], ())
    if row.ranks and len(shape) not in row.ranks:
        return f"has no integer form for {len(shape)} axes"
    for place in row.constants:
        if _given(node, place) and facts.constant(node, place) is None:
            return f"its operand {node.input[place]!r} is no constant"
    given = operators.attributes(node)
    for name, allowed in row.values.items():
        if name in given and given[name] not in allowed:
            return f"{name} = {given[name]!r} has no integer form"
    return _beyond_codes(facts, node) if row.data == "all" else None


def _beyond_codes(facts: ModelFacts, node: "onnx.NodeProto") -> str | None:
    """What a mask's constant may be: infinite, or the least float32 in its place."""
    values = [facts.constants[name] for name in node.input if name in facts.constants]
    floats = [value for value in values if value.dtype.kind == "f"]
    if not all(np.isfinite(value).all() for value in floats):
        return "its constant is not finite"
    if any((abs(value) > FARTHEST_CODED).any() for value in floats):
        return "its constant is larger than codes can stand for"
    return None


def clips_away_zero(facts: ModelFacts, node: "onnx.NodeProto") -> bool:
    """Clip(1, 6): a quantized range always holds 0 and could not stand for it. Nor for the one
    value of a Clip whose bounds are swapped.
    """
    if node.op_type != "Clip":
        return False
    low, high = (facts.constant(node, place) for place in (1, 2))
    lowest = -np.inf if low is None else float(low.reshape(-1)[0])
    highest = np.inf if high is None else float(high.reshape(-1)[0])
    return lowest > 0 or highest < 0 or lowest > highest


def stays_enclosed(facts: ModelFacts, node: "onnx.NodeProto") -> bool:
    """What is quantized only by its neighbours.

    A Gather of activations moves codes; only a table's rows, and several that are taken in a
    constant order, are quantized for its own sake. A function of one value, such as the larger one
    of it and a number, joins the table next to it.
    """
    if node.op_type == "Gather":
        indices = facts.constant(node, 1)
        return node.input[0] not in facts.constants and (indices is None or indices.size == 1)
    return operators.integer_form(node.op_type, node.domain) in _TABLES_TOO and (
        _one_value(facts, node) is None
    )


def _given(node: "onnx.NodeProto", place: int) -> bool:
    return place < len(node.input) and bool(node.input[place])


def _shape(facts: ModelFacts, name: str, rank: int) -> Shape:
    """An operand's shape; a constant's with leading ones up to `rank` axes."""
    constant = facts.constants.get(name)
    if constant is None:
        return facts.shapes.get(name, ())
    return (*[1] * (rank - constant.ndim), *constant.shape)


def alike(a: Shape, b: Shape) -> bool:
    """Whether two shapes are the same as far as is known: an open batch has many names."""
    return len(a) == len(b) and all(
        m == n or isinstance(m, str) or isinstance(n, str) for m, n in zip(a, b, strict=True)
    )


def _pair(facts: ModelFacts, node: "onnx.NodeProto") -> str | None:
    """What is a table where one of the two is a number, and a kernel of two operands elsewhere."""
    if _one_value(facts, node) is None:
        return None
    if len(node.input) != 2:
        return f"has {len(node.input)} operands, not two"
    first = operand_shape(facts, node, 0)
    if is_ordered(node) and not alike(first, facts.shapes.get(node.output[0], ())):
        return "its first operand is broadcast"
    return _broadcast(facts, node)


def is_ordered(node: "onnx.NodeProto") -> bool:
    """Whether an operator of two operands is another one when they are turned round."""
    return operators.integer_form(node.op_type, node.domain) in ("div", "prelu")


def operand_shape(facts: ModelFacts, node: "onnx.NodeProto", place: int) -> Shape:
    """An operand's shape; a constant's with leading ones up to the result's axes."""
    return _shape(facts, node.input[place], len(facts.shapes.get(node.output[0], ())))


def _broadcast(facts: ModelFacts, node: "onnx.NodeProto") -> str | None:
    shape = facts.shapes.get(node.output[0], ())
    first, second = (operand_shape(facts, node, place) for place in (0, 1))
    if not alike(first, shape):
        first, second = second, first
    if alike(first, shape) and spreads(second, shape):
        return None
    return f"broadcasting {_text(second)} to {_text(shape)} has no integer form"


def spreads(operand: Shape, shape: Shape) -> bool:
    """Whether kernels of two operands broadcast one of this shape to the other's: a number, one
    value a channel, or all values, for each image or for all.
    """
    if all(extent == 1 for extent in operand):
        return True
    channel = 1 if len(shape) == 4 else len(shape) - 1
    a_channel = tuple(e if i in (0, channel) else 1 for i, e in enumerate(shape))
    whole = (operand, (*shape[:1], *operand[1:])) if operand[:1] == (1,) else (operand,)
    return any(alike(s, wanted) for s in whole for wanted in (shape, a_channel))


def _one_value(facts: ModelFacts, node: "onnx.NodeProto") -> str | None:
    """An operator of several operands is a table when all but one are numbers."""
    names = [name for name in node.input if name]
    activations = [name for name in names if name not in facts.constants]
    numbers = all(facts.constants[n].size == 1 for n in names if n in facts.constants)
    return None if len(set(activations)) == 1 and numbers else "is no function of one value"


def _product(facts: ModelFacts, node: "onnx.NodeProto") -> str | None:
    left, right = (facts.constants.get(name) for name in node.input)
    if left is None and right is not None and right.ndim == 2:
        return None
    rank = len(facts.shapes.get(node.output[0], ()))
    shapes = [_shape(facts, name, rank) for name in node.input]
    vectors = any(value is not None and value.ndim < 2 for value in (left, right))
    if vectors or rank < 2 or any(len(shape) != rank for shape in shapes):
        return "is a product of operands of different ranks"
    batch = zip(shapes[0][:-2], shapes[1][:-2], strict=True)
    if not all(1 in (a, b) or alike((a,), (b,)) for a, b in batch):
        return f"a product of {_text(shapes[0])} and {_text(shapes[1])} has no integer form"
    return None


def _mean(facts: ModelFacts, node: "onnx.NodeProto") -> str | None:
    constant = facts.constant(node, 1)
    axes = operators.attributes(node).get("axes", []) if constant is None else constant.tolist()
    rank = len(facts.shapes.get(node.input[0], ()))
    if rank and sorted(axis % rank for axis in axes) == {3: [1], 4: [2, 3]}.get(rank):
        return None
    return "is a mean over other than the image axes or the tokens"


def _pad(facts: ModelFacts, node: "onnx.NodeProto") -> str | None:
    amounts = facts.constant(node, 1)
    if any(node.input[3:]):
        return "its amounts are not for all axes"
    return "removes values" if amounts is not None and amounts.min(initial=0) < 0 else None


def _slice(facts: ModelFacts, node: "onnx.NodeProto") -> str | None:
    steps = facts.constant(node, 4)
    return "its steps are not above 0" if steps is not None and steps.min(initial=1) <= 0 else None


def _resize(facts: ModelFacts, node: "onnx.NodeProto") -> str | None:
    given = operators.attributes(node)
    way = (
        given.get("coordinate_transformation_mode", "half_pixel"),
        given.get("nearest_mode", "round_prefer_floor"),
    )
    if way not in REPEATING:
        return f"resizing by {' and '.join(way)} has no integer form"
    into, out = facts.fixed(node.input[0]), facts.fixed(node.output[0])
    if into is None or out is None or any(b % a for a, b in zip(into, out, strict=True)):
        return "resizing to other than whole multiples has no integer form"
    return None


def _copies(facts: ModelFacts, node: "onnx.NodeProto") -> str | None:
    known = facts.fixed(node.input[0]) is not None and facts.fixed(node.output[0]) is not None
    return None if known else "copies an open number of values"


def _one_result(_facts: ModelFacts, node: "onnx.NodeProto") -> str | None:
    return "gives a second result" if any(node.output[1:]) else None


def _last_axis(facts: ModelFacts, node: "onnx.NodeProto") -> str | None:
    shape = facts.shapes.get(node.input[0], ())
    axis = operators.attributes(node).get("axis", -1)
    if not shape or axis % len(shape) != len(shape) - 1:
        return "runs along another axis than the last"
    last = shape[-1]
    most = MAX_SOFTMAX_ROW if node.op_type == "Softmax" else MAX_LAYER_NORM_ROW
    long = isinstance(last, int) and last > most
    return f"has rows of more than {most} values" if long else None


def _norm(facts: ModelFacts, node: "onnx.NodeProto") -> str | None:
    return _one_result(facts, node) or _last_axis(facts, node)


def _text(shape: Shape) -> str:
    return "(" + ", ".join(str(extent) for extent in shape) + ")"


_TABLES_TOO = ("div", "max", "min", "prelu")

# By the integer form of the table: what it asks beyond ranks, constants and attributes.
_FURTHER: dict[str, Callable[[ModelFacts, "onnx.NodeProto"], str | None]] = {
    "add": _broadcast,
    "mul": _broadcast,
    "lookup": _one_value,
    "div": _pair,
    "max": _pair,
    "min": _pair,
    "prelu": _pair,
    "matmul": _product,
    "max_pool": _one_result,
    "reduce_mean": _mean,
    "pad": _pad,
    "slice": _slice,
    "resize": _resize,
    "expand": _copies,
    "tile": _copies,
    "softmax": _last_axis,
    "layer_norm": _norm,
}

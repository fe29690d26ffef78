"""Operators, and uses of operators, that no rule and not TVM computes, written in others.

Each line of `_RULES` keeps the numbers; what it does not speak of stays as it is.
"""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators, recurrent, selection
from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.compiler.onnx_model.rewriting import ModelFacts, rewrite

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

    Nodes = list[onnx.NodeProto] | None

_MOST_FACTORS = 512
_AXES_ARE_AN_OPERAND = 18  # of reductions since this operator set
_SIZES_ARE_AN_OPERAND = 13  # of a Split, likewise
_MASKS_ARE_BOOL = 10  # Dropout's since this operator set


def write_in_others(model: "onnx.ModelProto") -> int:
    """Rewrite in place, with shapes inferred anew.

    Returns:
        How many operators were rewritten.
    """
    if _RULES.keys().isdisjoint(node.op_type for node in model.graph.node):
        return 0

    def rule(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
        found = _RULES.get(node.op_type)
        return found(facts, node) if found and node.domain in ("", "ai.onnx") else None

    return rewrite(model, rule)


def _power(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """Base and exponent of two types, or of integers, become floats of one type."""
    base, exponent = (facts.dtypes.get(name, "") for name in node.input)
    if not base or not exponent or (base == exponent and base.startswith("float")):
        return None
    w = NodeWriter(facts=facts, node=node)
    real = base if base.startswith("float") else "float64"
    operands = [w.cast(name, real) for name in node.input]
    if real == base:
        w.op("Pow", *operands, result=node.output[0])
    else:
        w.cast(w.op("Pow", *operands), base, result=node.output[0])
    return w.nodes


def _reduced_truths(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """The greatest or least of truth values, as numbers."""
    if facts.dtypes.get(node.input[0]) != "bool":
        return None
    w = NodeWriter(facts=facts, node=node)
    numbers = w.cast(node.input[0], "int32")
    reduced = w.op(node.op_type, numbers, *node.input[1:], **operators.attributes(node))
    w.cast(reduced, "bool", result=node.output[0])
    return w.nodes


def _one_infinity(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """IsInf looks for one of the two, or for none."""
    given = operators.attributes(node)
    signs = [
        sign
        for sign, name in ((-1, "detect_negative"), (1, "detect_positive"))
        if given.get(name, 1)
    ]
    dtype = facts.dtypes.get(node.input[0], "")
    if len(signs) == 2 or not dtype:
        return None
    w = NodeWriter(facts=facts, node=node)
    both = [w.constant(np.array(sign * np.inf, dtype)) for sign in (-1, 1)]
    if signs:
        w.op("Equal", node.input[0], both[signs[0] > 0], result=node.output[0])
    else:  # what equals neither
        equal = [w.op("Equal", node.input[0], infinity) for infinity in both]
        w.op("And", *equal, result=node.output[0])
    return w.nodes


def _unit_length(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """x / ‖x‖ along an axis, and 0 where all of it is 0."""
    dtype = facts.dtypes.get(node.input[0], "")
    given = operators.attributes(node)
    if not dtype:
        return None
    w = NodeWriter(facts=facts, node=node)
    axes = [given.get("axis", -1)]
    reduction = "ReduceL1" if given.get("p", 2) == 1 else "ReduceL2"
    if facts.opset < _AXES_ARE_AN_OPERAND:
        length = w.op(reduction, node.input[0], axes=axes)
    else:
        length = w.op(reduction, node.input[0], w.constant(np.array(axes)))
    zero, one = (w.constant(np.array(value, dtype)) for value in (0, 1))
    length = w.op("Where", w.op("Equal", length, zero), one, length)
    w.op("Div", node.input[0], length, result=node.output[0])
    return w.nodes


def _mask_of_dropout(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """It drops nothing in inference: the mask is all true."""
    shape = facts.static(node.input[0])
    mask = node.output[1] if len(node.output) > 1 else ""
    if shape is None or not (mask in facts.readers or mask in facts.outputs):
        return None
    if len(node.input) > 2 and node.input[2]:  # it says whether this is training
        training = facts.constant(node, 2)
        if training is None or training.any():
            return None
    dtype = "bool" if facts.opset >= _MASKS_ARE_BOOL else facts.dtypes[node.input[0]]
    w = NodeWriter(facts=facts, node=node)
    if node.output[0]:
        w.op("Identity", node.input[0], result=node.output[0])
    w.op("Identity", w.constant(np.ones(shape, dtype)), result=mask)
    return w.nodes


def _cast(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """CastLike is a Cast to the type of its other operand, of which no more need be known."""
    dtype = facts.dtypes.get(node.input[1], "")
    if not dtype:
        return None
    w = NodeWriter(facts=facts, node=node)
    w.cast(node.input[0], dtype, result=node.output[0])
    return w.nodes


def _exponential_unit(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """Celu and Elu of other floats than our kernels': max(x, 0) + min(alpha·(e^(x / d) - 1), 0).

    The divisor d is alpha for a Celu and 1 for an Elu.
    """
    dtype = facts.dtypes.get(node.input[0], "float32")
    if dtype == "float32":
        return None
    w = NodeWriter(facts=facts, node=node)
    slope = operators.attributes(node).get("alpha", 1.0)
    alpha, one, zero = (w.constant(np.array(value, dtype)) for value in (slope, 1, 0))
    divided = w.op("Div", node.input[0], alpha) if node.op_type == "Celu" else node.input[0]
    below = w.op("Min", w.op("Mul", alpha, w.op("Sub", w.op("Exp", divided), one)), zero)
    w.op("Add", w.op("Max", node.input[0], zero), below, result=node.output[0])
    return w.nodes


def _running_product(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """Each step a product with the one before; up to `_MOST_FACTORS` steps."""
    x, axis = facts.static(node.input[0]), facts.constant(node, 1)
    dtype = facts.dtypes.get(node.input[0], "")
    if not x or axis is None or not dtype:
        return None
    along = int(axis.reshape(-1)[0]) % len(x)
    given = operators.attributes(node)
    if x[along] > _MOST_FACTORS:
        return None
    w = NodeWriter(facts=facts, node=node)
    steps = range(x[along])[:: -1 if given.get("reverse") else 1]
    parts = [w.op("Gather", node.input[0], w.numbers(i), axis=along) for i in steps]
    if given.get("exclusive"):
        ones = np.ones([1 if i == along else n for i, n in enumerate(x)], dtype)
        parts = [w.constant(ones), *parts[:-1]]
    products = parts[:1]
    for part in parts[1:]:
        products.append(w.op("Mul", products[-1], part))
    ordered = products[::-1] if given.get("reverse") else products
    w.op("Concat", *ordered, result=node.output[0], axis=along)
    return w.nodes


def _equal_to_the_least(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """Neither less nor greater: TVM takes `x == -2147483648` of int32 for false."""
    constants = [facts.constants[name] for name in node.input if name in facts.constants]
    if not any(c.dtype == np.int32 and (c == np.iinfo(np.int32).min).any() for c in constants):
        return None
    w = NodeWriter(facts=facts, node=node)
    unequal = w.op("Or", w.op("Less", *node.input), w.op("Greater", *node.input))
    w.op("Not", unequal, result=node.output[0])
    return w.nodes


def _integer_conv(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """A Conv of float64, which holds every sum of integers exactly."""
    weight = facts.static(node.input[1])
    if weight is None:
        return None
    w = NodeWriter(facts=facts, node=node)
    operands = []
    for place, zero in ((0, 2), (1, 3)):
        name = w.cast(node.input[place], "float64")
        if zero < len(node.input) and node.input[zero]:
            point = w.cast(node.input[zero], "float64")
            if place and facts.static(node.input[zero]) not in ((), (1,)):  # one a channel
                shape = np.array([-1, *[1] * (len(weight) - 1)])
                point = w.op("Reshape", point, w.constant(shape))
            name = w.op("Sub", name, point)
        operands.append(name)
    sums = w.op("Conv", *operands, **operators.attributes(node))
    w.cast(sums, "int32", result=node.output[0])
    return w.nodes


def _parts_with_elements(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """A Concat without the operands that have no elements."""
    kept = [name for name in node.input if 0 not in (facts.static(name) or ())]
    if len(kept) == len(node.input) or not kept:
        return None
    w = NodeWriter(facts=facts, node=node)
    if len(kept) == 1:
        w.op("Identity", *kept, result=node.output[0])
    else:
        w.op("Concat", *kept, result=node.output[0], **operators.attributes(node))
    return w.nodes


def _results_with_elements(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """A Split without the results that have no elements, where nobody reads those."""
    import onnx

    axis = operators.attributes(node).get("axis", 0)
    shapes = [facts.static(name) for name in node.output]
    if any(not shape for shape in shapes):
        return None
    used = facts.outputs | facts.readers.keys()
    kept = [name for name in node.output if 0 not in (facts.static(name) or ()) or name in used]
    if len(kept) == len(node.output) or not kept:
        return None
    if len(kept) == 1:
        return [onnx.helper.make_node("Identity", node.input[:1], kept, name=node.name)]
    extents = [shape[axis] for shape in shapes if shape and shape[axis]]
    if facts.opset < _SIZES_ARE_AN_OPERAND:
        return [onnx.helper.make_node("Split", node.input[:1], kept, axis=axis, split=extents)]
    sizes = facts.add(f"{kept[0]}.sizes", np.array(extents))
    return [onnx.helper.make_node("Split", [node.input[0], sizes], kept, axis=axis)]


def _padding_of_a_size(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """A transposed convolution that says its result's extents, with the padding they ask for.

    The formula is that of ONNX's specification. Where it asks for a value more at the end, that is
    padding of the output; extents further out are left alone.
    """
    import onnx

    given = operators.attributes(node)
    x, weight = facts.static(node.input[0]), facts.static(node.input[1])
    if "output_shape" not in given or not x or not weight:
        return None
    wanted = given.pop("output_shape")[-(len(x) - 2) :]
    ones = [1] * len(wanted)
    more = list(given.get("output_padding", [0] * len(wanted)))
    before, after = [], []
    for i, extent in enumerate(wanted):
        taps = (weight[2 + i] - 1) * given.get("dilations", ones)[i] + 1
        total = given.get("strides", ones)[i] * (x[2 + i] - 1) + more[i] + taps - extent
        upper = given.get("auto_pad") == "SAME_UPPER"
        if total == -1 and not upper:
            total, more[i] = 0, more[i] + 1
        if total < 0:
            return None
        half = total // 2
        before.append(half if upper else total - half)
        after.append(total - half if upper else half)
    given.pop("auto_pad", None)
    given |= {"pads": [*before, *after], "output_padding": more}
    return [onnx.helper.make_node("ConvTranspose", node.input, node.output, node.name, **given)]


_RULES: "dict[str, Callable[[ModelFacts, onnx.NodeProto], Nodes]]" = {
    "CastLike": _cast,
    "Celu": _exponential_unit,
    "Concat": _parts_with_elements,
    "ConvInteger": _integer_conv,
    "ConvTranspose": _padding_of_a_size,
    "CumProd": _running_product,
    "Dropout": _mask_of_dropout,
    "Elu": _exponential_unit,
    "Equal": _equal_to_the_least,
    "GRU": recurrent.steps,
    "IsInf": _one_infinity,
    "LSTM": recurrent.steps,
    "LpNormalization": _unit_length,
    "OneHot": selection.one_hot,
    "Pow": _power,
    "RNN": recurrent.steps,
    "ReduceMax": _reduced_truths,
    "ReduceMin": _reduced_truths,
    "Split": _results_with_elements,
    "TopK": selection.top_k,
}
WRITTEN_IN_OTHERS = frozenset(_RULES)  # operators, all of their uses or some

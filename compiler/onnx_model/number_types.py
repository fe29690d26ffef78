"""Operators on types of numbers that their kernels lack, in types that they have."""

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts

    Nodes = list[onnx.NodeProto] | None


def power(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """Base and exponent of two types, or of integers, become floats of one type."""
    base, exponent = (facts.dtypes.get(name, "") for name in node.input)
    if squared := _square(facts, node, base):
        return squared
    if not base or not exponent or (base == exponent and base.startswith("float")):
        return None
    w = NodeWriter(facts=facts, node=node)
    # float64 holds every int32; an int64 beyond 2⁵³ is rounded.
    real = base if base.startswith("float") else "float64"
    operands = [name if facts.dtypes[name] == real else w.cast(name, real) for name in node.input]
    if real == base:
        w.op("Pow", *operands, result=node.output[0])
    else:
        w.cast(w.op("Pow", *operands), base, result=node.output[0])
    return w.nodes


def _square(facts: "ModelFacts", node: "onnx.NodeProto", base: str) -> "Nodes":
    """The second power of floats is a product; of codes it stays, which is a table of them."""
    exponent, maker = facts.constant(node, 1), facts.makers.get(node.input[0])
    coded = maker is not None and maker.op_type == "DequantizeLinear"
    if coded or base != "float32" or exponent is None or exponent.size != 1:
        return None
    if (
        exponent.ndim > len(facts.static(node.input[0]) or ())
        or float(exponent.reshape(-1)[0]) != 2
    ):
        return None
    w = NodeWriter(facts=facts, node=node)
    w.op("Mul", node.input[0], node.input[0], result=node.output[0])
    return w.nodes


def reduced_truths(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """The greatest or least of truth values, as numbers."""
    if facts.dtypes.get(node.input[0]) != "bool":
        return None
    w = NodeWriter(facts=facts, node=node)
    numbers = w.cast(node.input[0], "int32")
    reduced = w.op(node.op_type, numbers, *node.input[1:], **operators.attributes(node))
    w.cast(reduced, "bool", result=node.output[0])
    return w.nodes


def one_infinity(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
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
    # Minus infinity, then plus infinity.
    both = [w.constant(np.array(sign * np.inf, dtype)) for sign in (-1, 1)]
    if signs:
        w.op("Equal", node.input[0], both[signs[0] > 0], result=node.output[0])
    else:  # what equals neither
        equal = [w.op("Equal", node.input[0], infinity) for infinity in both]
        w.op("And", *equal, result=node.output[0])
    return w.nodes


def cast(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """CastLike is a Cast to the type of its other operand, of which no more need be known."""
    dtype = facts.dtypes.get(node.input[1], "")
    if not dtype:
        return None
    w = NodeWriter(facts=facts, node=node)
    w.cast(node.input[0], dtype, result=node.output[0])
    return w.nodes


def exponential_unit(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
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
    # Where e^x is infinite x is above 0, and the minimum is 0.
    below = w.op("Min", w.op("Mul", alpha, w.op("Sub", w.op("Exp", divided), one)), zero)
    w.op("Add", w.op("Max", node.input[0], zero), below, result=node.output[0])
    return w.nodes


def integer_conv(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """A Conv of float64, which holds every sum of integers exactly, where no kernel of ours has it:
    weights or their zero points that are no constant, volumes.
    """
    weight = facts.static(node.input[1])
    if weight is None:
        return None
    given = [*node.input, "", ""][1:4]
    constant = all(not name or name in facts.constants for name in (given[0], given[2]))
    zeros = facts.static(given[1]) if given[1] else ()
    one_zero = zeros is not None and prod(zeros) == 1
    if constant and one_zero and node.input[0] not in facts.constants and len(weight) in (3, 4):
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
    # A sum of n products of bytes needs 16 + log₂ n bits; float64 has 53.
    sums = w.op("Conv", *operands, **operators.attributes(node))
    w.cast(sums, "int32", result=node.output[0])
    return w.nodes


def equal_to_the_least(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """Neither less nor greater: TVM takes `x == -2147483648` of int32 for false."""
    constants = [facts.constants[name] for name in node.input if name in facts.constants]
    if not any(c.dtype == np.int32 and (c == np.iinfo(np.int32).min).any() for c in constants):
        return None
    w = NodeWriter(facts=facts, node=node)
    unequal = w.op("Or", w.op("Less", *node.input), w.op("Greater", *node.input))
    w.op("Not", unequal, result=node.output[0])
    return w.nodes


def swish(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """x · sigmoid(alpha · x), of other floats than our kernel's."""
    dtype = facts.dtypes.get(node.input[0], "float32")
    if dtype == "float32":
        return None
    w = NodeWriter(facts=facts, node=node)
    alpha = w.constant(np.array(operators.attributes(node).get("alpha", 1.0), dtype))
    gate = w.op("Sigmoid", w.op("Mul", node.input[0], alpha))
    w.op("Mul", node.input[0], gate, result=node.output[0])
    return w.nodes


def remainder(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """Mod of floats, with the sign of the divisor: C's, and the divisor more where signs differ.

    TVM's, x - ⌊x / d⌋ · d, loses digits, and all of them where d is infinite.
    """
    dtype = facts.dtypes.get(node.input[0], "")
    if not dtype.startswith("float") or operators.attributes(node).get("fmod"):
        return None
    w = NodeWriter(facts=facts, node=node)
    zero = w.constant(np.array(0, dtype))
    left = w.op("Mod", *node.input, fmod=1)
    signs = w.op("Xor", w.op("Less", left, zero), w.op("Less", node.input[1], zero))
    differs = w.op("And", signs, w.op("Not", w.op("Equal", left, zero)))
    w.op("Where", differs, w.op("Add", left, node.input[1]), left, result=node.output[0])
    return w.nodes

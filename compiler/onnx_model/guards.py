"""Integers that a machine's instructions take badly: shifts by more than a number's bits, and
divisions by zero, which end a program.

ONNX says what a shift by too much gives: nothing is left but the sign. It leaves open what a
division by zero gives: here the dividend, and 0 of a remainder.
"""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.compiler.onnx_model.rewriting import ModelFacts, rewrite

if TYPE_CHECKING:
    import onnx


def guard_integers(model: "onnx.ModelProto") -> int:
    """Put what is inside in the place of such operands, unless they are constant and inside.

    Returns:
        How many operators were rewritten.
    """
    if {"BitShift", "Div", "Mod"}.isdisjoint(node.op_type for node in model.graph.node):
        return 0

    def rule(facts: ModelFacts, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
        if node.op_type not in ("BitShift", "Div", "Mod") or node.domain not in ("", "ai.onnx"):
            return None
        dtype = facts.dtypes.get(node.input[1], "")
        if not dtype.startswith(("int", "uint")):
            return None
        return _shift(facts, node) if node.op_type == "BitShift" else _quotient(facts, node)

    return rewrite(model, rule)


def _shift(facts: ModelFacts, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
    x, by = node.input
    dtype = np.dtype(facts.dtypes[by])
    bits = dtype.itemsize * 8
    known = facts.constants.get(by)
    if known is not None and ((known >= 0) & (known < bits)).all():
        return None
    w = NodeWriter(facts=facts, node=node)
    zero, most = (w.constant(np.array(value, dtype)) for value in (0, bits - 1))
    beyond = w.op("Greater", by, most)
    if dtype.kind == "i":
        beyond = w.op("Or", beyond, w.op("Less", by, zero))
    inside = w.op("Where", beyond, most, by)
    given = operators.attributes(node)
    if given["direction"] == "RIGHT" and dtype.kind == "i":  # nothing but the sign is left
        w.op("BitShift", x, inside, result=node.output[0], **given)
    else:
        w.op("Where", beyond, zero, w.op("BitShift", x, inside, **given), result=node.output[0])
    return w.nodes


def _quotient(facts: ModelFacts, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
    x, by = node.input
    dtype = np.dtype(facts.dtypes[by])
    known = facts.constants.get(by)
    if known is not None and not ((known == 0) | (known == -1)).any():
        return None
    w = NodeWriter(facts=facts, node=node)
    # By sums: of a choice between divisors, TVM and LLVM would divide by both and choose then.
    is_zero = w.op("Equal", by, w.constant(np.array(0, dtype)))
    divisor = w.op("Add", by, w.cast(is_zero, dtype.name))
    if dtype.kind == "i":  # the least number has no opposite
        least = w.op("Less", x, w.constant(np.array(np.iinfo(dtype).min + 1, dtype)))
        opposite = w.op("Equal", by, w.constant(np.array(-1, dtype)))
        both = w.cast(w.op("And", opposite, least), dtype.name)
        divisor = w.op("Add", divisor, w.op("Add", both, both))
    w.op(node.op_type, x, divisor, result=node.output[0], **operators.attributes(node))
    return w.nodes

"""Operators of several operands: two at a time, and with operands that kernels broadcast."""

import math
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.compiler.onnx_model.rewriting import ModelFacts
from edgekiln.compiler.quantization import limits

if TYPE_CHECKING:
    import onnx

    Nodes = list[onnx.NodeProto] | None

# What Sum and Mean add up with, two at a time; Max and Min take themselves.
_PAIRED = {"Sum": "Add", "Mean": "Add"}
_MOST_SPREAD = 1 << 22  # values of a constant that is written out for all places of a result
_FARTHEST = 1e3  # a constant beyond, such as a mask's, takes the range from the values beside it


def of_two(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """Sum, Mean, Max and Min of any number of operands: a tree of operators of two."""
    op, names = _PAIRED.get(node.op_type, node.op_type), list(node.input)
    if op == node.op_type and len(names) == 2:
        return broadcast(facts, node)
    w = NodeWriter(facts=facts, node=node)
    count = len(names)
    # In a tree each value is rounded log₂ n times, in a chain up to n times.
    while len(names) > 1:
        last = len(names) == 2 and node.op_type != "Mean"
        result = node.output[0] if last else ""
        pairs = [names[i : i + 2] for i in range(0, len(names), 2)]
        names = [w.op(op, *pair, result=result) if len(pair) == 2 else pair[0] for pair in pairs]
    if node.op_type == "Mean" and count > 1:
        part = w.constant(np.array(1 / count, np.float32))
        w.op("Mul", names[0], part, result=node.output[0])
    elif count == 1:
        w.op("Identity", names[0], result=node.output[0])
    return w.nodes


def quotient(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """Division by constants is a product with their reciprocals: of codes of one scale the least
    divisors, which make the largest results, would be the coarsest.
    """
    divisors = facts.constant(node, 1)
    if divisors is None or divisors.size < 2:  # by one number it is a table
        return broadcast(facts, node)
    with np.errstate(divide="ignore", over="ignore"):
        reciprocals = (1 / divisors.astype(np.float64)).astype(np.float32)
    if not np.isfinite(reciprocals).all():
        return broadcast(facts, node)
    w = NodeWriter(facts=facts, node=node)
    w.op("Mul", node.input[0], w.constant(reciprocals), result=node.output[0])
    return w.nodes


def broadcast(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """An operand that no kernel broadcasts is spread over the result: a constant as it is written,
    an activation by Expand.
    """
    fixed = facts.fixed(node.output[0])
    if len(node.input) != 2 or fixed is None or limits.obstacle(facts, node) is None:
        return None
    shape = facts.shapes[node.output[0]]
    operands = [limits.operand_shape(facts, node, place) for place in (0, 1)]
    whole = [limits.alike(operand, shape) for operand in operands]
    spread = {place for place in (0, 1) if not whole[place]}
    if whole[0] and limits.spreads(operands[1], shape):
        spread = set()
    elif not any(whole):  # one is spread; the other may be what kernels broadcast
        small = [limits.spreads(operand, shape) for operand in operands]
        if small[1]:
            spread = {0}
        # Kernels broadcast the second operand, and those of Div or PRelu cannot change places.
        elif small[0] and not limits.is_ordered(node):
            spread = {1}
    w = NodeWriter(facts=facts, node=node)
    names = list(node.input)
    for place in spread:
        name = _spread(w, names[place], fixed, shape[0])
        if name is None:
            return None
        names[place] = name
    if not spread:
        return None
    w.op(node.op_type, *names, result=node.output[0])
    return w.nodes


def _spread(w: NodeWriter, name: str, fixed: tuple[int, ...], batch: int | str) -> str | None:
    """The operand in the shape of the result, but for an open batch; None where that is too large,
    or a constant of numbers that are.
    """
    constant = w.facts.constants.get(name)
    lead = batch if isinstance(batch, int) else 1
    if constant is None:
        return w.op("Expand", name, w.numbers(lead, *fixed))
    near = (abs(constant) <= _FARTHEST).all()  # which neither infinities nor NaN are
    if lead * math.prod(fixed) > _MOST_SPREAD or not near:
        return None
    return w.constant(np.broadcast_to(constant, (lead, *fixed)))


def where(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """Where with a constant condition: what it takes times 1, what it leaves times 0, and the sum.

    Left alone: a constant to fill with that is far from the values beside it (the -10⁹ of an
    attention's mask), for both get one scale.
    """
    condition = facts.constant(node, 0)
    fixed = facts.fixed(node.output[0])
    if condition is None or fixed is None:
        return None
    w = NodeWriter(facts=facts, node=node)
    parts = []
    for place, taken in ((1, condition), (2, ~condition)):
        constant = facts.constant(node, place)
        if constant is None:
            parts.append(w.op("Mul", node.input[place], w.constant(taken.astype(np.float32))))
            continue
        values = np.where(taken, constant, 0).astype(np.float32)
        if not (abs(values) <= _FARTHEST).all():  # NaN is not, either
            return None
        parts.append(w.constant(values))
    if all(part in facts.constants for part in parts):
        return None
    w.op("Add", *parts, result=node.output[0])
    return w.nodes


def triangle(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """The upper or the lower triangle of matrices: a product with 1 and 0."""
    fixed = facts.fixed(node.input[0])
    diagonal = facts.constant(node, 1)
    if fixed is None or len(fixed) < 2 or (any(node.input[1:]) and diagonal is None):
        return None
    part = np.triu if operators.attributes(node).get("upper", 1) else np.tril
    shift = 0 if diagonal is None else int(diagonal.reshape(-1)[0])
    w = NodeWriter(facts=facts, node=node)
    mask = w.constant(part(np.ones(fixed[-2:], np.float32), shift))
    w.op("Mul", node.input[0], mask, result=node.output[0])
    return w.nodes

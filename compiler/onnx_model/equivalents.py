"""Operators, and uses of operators, that no rule and not TVM computes, written in others.

Each line of `_RULES` keeps the numbers; what it does not speak of stays as it is.
"""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import (
    blocked_weights,
    channel_norms,
    dynamic_forms,
    einsum,
    fourier,
    no_ops,
    number_types,
    operators,
    patches,
    recurrent,
    regions,
    selection,
)
from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.compiler.onnx_model.raising import raised
from edgekiln.compiler.onnx_model.rewriting import ModelFacts, rewrite

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

    Nodes = list[onnx.NodeProto] | None

_MOST_FACTORS = 512
_AXES_ARE_AN_OPERAND = 18  # of reductions since this operator set
_SIZES_ARE_AN_OPERAND = 13  # of a Split, likewise
_ROWS_ARE_ONE_AXIS = 13  # of a Hardmax since this operator set
_MASKS_ARE_BOOL = 10  # Dropout's since this operator set
# The operator set since which an operator has the form that rules read, or there is what they
# write: a Where, bounds of a Slice and of a Clip that are operands.
_KNOWN_SINCE = {"GRU": 11, "LSTM": 11, "LpNormalization": 9, "RNN": 11, "Slice": 10, "TopK": 10}
_ONNX = ("", "ai.onnx")


def write_in_others(model: "onnx.ModelProto") -> int:
    """Rewrite in place, with shapes inferred anew.

    Returns:
        How many operators were rewritten.
    """
    names = {name for rules in _OF_DOMAINS.values() for name in rules}
    newer = _in_newer_words(model)
    if names.isdisjoint(node.op_type for node in model.graph.node):
        return newer

    def rule(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
        domain = "" if node.domain == "ai.onnx" else node.domain
        found = _OF_DOMAINS[domain].get(node.op_type) if domain in _OF_DOMAINS else None
        return found(facts, node) if found else None

    return newer + rewrite(model, rule)


def _in_newer_words(model: "onnx.ModelProto") -> int:
    """Say in place what is older than rules can read, or than the words that they write with.

    Returns:
        1 if it was, else 0.

    Raises:
        UnsupportedError: ONNX knows no way.
    """
    opset = max((o.version for o in model.opset_import if o.domain in _ONNX), default=1)
    if not any(
        node.domain in _ONNX and opset < _KNOWN_SINCE.get(node.op_type, 0)
        for node in model.graph.node
    ):
        return 0
    model.CopyFrom(raised(model, opset, _SIZES_ARE_AN_OPERAND))
    return 1


def _unit_length(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """x / ‖x‖ along an axis, and 0 where all of it is 0."""
    dtype = facts.dtypes.get(node.input[0], "")
    given = operators.attributes(node)
    if not dtype:
        return None
    w = NodeWriter(facts=facts, node=node)
    axes = [given.get("axis", -1)]
    reduction = "ReduceL1" if given.get("p", 2) == 1 else "ReduceL2"
    # `keepdims` is 1 by default, so that the length divides by broadcasting.
    if facts.opset < _AXES_ARE_AN_OPERAND:
        length = w.op(reduction, node.input[0], axes=axes)
    else:
        length = w.op(reduction, node.input[0], w.constant(np.array(axes)))
    zero, one = (w.constant(np.array(value, dtype)) for value in (0, 1))
    length = w.op("Where", w.op("Equal", length, zero), one, length)
    w.op("Div", node.input[0], length, result=node.output[0])
    return w.nodes


def _mask_of_dropout(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """It drops nothing in inference: the mask is all true. Before operator set 12 ONNX says nothing
    of it, and ONNX Runtime's is all false.
    """
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
    w.op("Identity", w.constant(np.full(shape, facts.opset >= 12, dtype)), result=mask)
    return w.nodes


def _one_of_all(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """Hardmax before operator set 13, which takes all axes from its own on for one row."""
    x = node.input[0]
    rank, given = len(facts.shapes.get(x, ())), operators.attributes(node)
    axis = given.get("axis", 1)
    if facts.opset >= _ROWS_ARE_ONE_AXIS or not rank or (rank, axis % rank) == (2, 1):
        return None
    w = NodeWriter(facts=facts, node=node)
    rows = w.op("Hardmax", w.op("Flatten", x, axis=axis % rank), axis=1)
    w.op("Reshape", rows, w.op("Shape", x), result=node.output[0])
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
        # The product of all that come before: 1 for the first, and the last factor is not read.
        ones = np.ones([1 if i == along else n for i, n in enumerate(x)], dtype)
        parts = [w.constant(ones), *parts[:-1]]
    products = parts[:1]
    for part in parts[1:]:
        products.append(w.op("Mul", products[-1], part))
    # Made from the end on, they go back to the places of their values.
    ordered = products[::-1] if given.get("reverse") else products
    w.op("Concat", *ordered, result=node.output[0], axis=along)
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


_RULES: "dict[str, Callable[[ModelFacts, onnx.NodeProto], Nodes]]" = {
    "Cast": no_ops.cast,
    "CastLike": number_types.cast,
    "Celu": number_types.exponential_unit,
    "Col2Im": patches.image_of,
    "Concat": _parts_with_elements,
    "ConvInteger": number_types.integer_conv,
    "CumProd": _running_product,
    "DFT": fourier.dft,
    "DequantizeLinear": blocked_weights.dequantized,
    "Dropout": _mask_of_dropout,
    "Einsum": einsum.in_products,
    "Elu": number_types.exponential_unit,
    "Equal": number_types.equal_to_the_least,
    "GRU": recurrent.steps,
    "Hardmax": _one_of_all,
    "IsInf": number_types.one_infinity,
    "InstanceNormalization": channel_norms.instance_norm,
    "LSTM": recurrent.steps,
    "LpNormalization": _unit_length,
    "Mod": number_types.remainder,
    "OneHot": selection.one_hot,
    "Pow": number_types.power,
    "RNN": recurrent.steps,
    "ReduceMax": number_types.reduced_truths,
    "ReduceMean": no_ops.mean,
    "ReduceMin": number_types.reduced_truths,
    "RoiAlign": regions.roi_align,
    "STFT": fourier.stft,
    "Split": _results_with_elements,
    "Swish": number_types.swish,
    "TopK": selection.top_k,
}
_OF_DOMAINS: "dict[str, dict[str, Callable[[ModelFacts, onnx.NodeProto], Nodes]]]" = {
    "": _RULES,
    dynamic_forms.MICROSOFT: {
        "DynamicQuantizeMatMul": dynamic_forms.product_of_floats,
        "MatMulIntegerToFloat": dynamic_forms.product_of_codes,
        "MatMulNBits": blocked_weights.product,
    },
}
WRITTEN_IN_OTHERS = frozenset(_RULES)  # operators, all of their uses or some

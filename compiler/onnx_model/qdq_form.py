"""Operators that take and give codes, in the form that the passes read: DequantizeLinear, the
operator on real numbers, QuantizeLinear.

ONNX's QLinearConv and QLinearMatMul, and those that ONNX Runtime adds (`com.microsoft`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.compiler.onnx_model.rewriting import ModelFacts, rewrite

if TYPE_CHECKING:
    import onnx

_MICROSOFT = "com.microsoft"


@dataclass(frozen=True, kw_only=True)
class _QuantizedForm:
    """Where an operator of codes has its operands. Codes are followed by scale and zero point."""

    op: str  # the operator on real numbers
    codes: tuple[int, ...] = (0,)
    result: int  # the place of its scale; the zero point is behind it
    bias: int | None = None  # int32, at the product of the scales of the two operands
    # The axis of the second operand that several scales run along.
    axis: int = 0


_FORMS = {
    ("", "QLinearConv"): _QuantizedForm(op="Conv", codes=(0, 3), result=6, bias=8),
    ("", "QLinearMatMul"): _QuantizedForm(op="MatMul", codes=(0, 3), result=6, axis=-1),
    (_MICROSOFT, "QGemm"): _QuantizedForm(op="Gemm", codes=(0, 3), result=7, bias=6, axis=1),
    (_MICROSOFT, "QLinearAdd"): _QuantizedForm(op="Add", codes=(0, 3), result=6),
    (_MICROSOFT, "QLinearMul"): _QuantizedForm(op="Mul", codes=(0, 3), result=6),
    **{
        (_MICROSOFT, f"QLinear{op}"): _QuantizedForm(op=op, result=3)
        for op in ("AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Softmax")
    },
}
# Attributes that are not those of the operator on real numbers; at these values they say nothing.
_SAYS_NOTHING = {"channels_last": 0, "opset": None}


def in_qdq_form(model: "onnx.ModelProto") -> int:
    """Rewrite in place every operator of codes whose attributes have a meaning on real numbers.

    Returns:
        How many were rewritten.
    """
    names = {name for _, name in _FORMS} | {"QLinearConcat"}
    if names.isdisjoint(node.op_type for node in model.graph.node):
        return 0

    def rule(facts: ModelFacts, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
        if (node.domain, node.op_type) == (_MICROSOFT, "QLinearConcat"):
            places = range(2, len(node.input), 3)
            return _around(facts, node, _QuantizedForm(op="Concat", codes=tuple(places), result=0))
        form = _FORMS.get(("" if node.domain == "ai.onnx" else node.domain, node.op_type))
        return _around(facts, node, form) if form else None

    return rewrite(model, rule)


def _around(
    facts: ModelFacts, node: "onnx.NodeProto", form: _QuantizedForm
) -> "list[onnx.NodeProto] | None":
    given = operators.attributes(node)
    for name, value in _SAYS_NOTHING.items():
        if name in given and value in (None, given[name]):
            del given[name]
    if "channels_last" in given:
        return None
    w, reals = NodeWriter(facts=facts, node=node), []
    # Each operand of codes: (codes, scale, zero point) → a DequantizeLinear.
    for place in form.codes:
        codes, scale, zero = _operands(node, (place, place + 1, place + 2))
        axis = 0 if form.op == "Gemm" and given.get("transB") else form.axis
        rank = len(facts.static(codes) or facts.shapes.get(codes, ()))
        along = axis % rank if place and rank else 0
        reals.append(_dequantized(w, (codes, scale, zero), along))
    if form.bias is not None and (bias := _operands(node, (form.bias,))[0]):
        first, second = (facts.constant(node, place + 1) for place in form.codes)
        if first is None or second is None or given.get("alpha", 1.0) != 1.0:
            return None
        # One scale a channel where the weights have that; the sums' scale has the weights' shape.
        product = (first * second).astype(np.float32).reshape(second.shape)
        reals.append(_dequantized(w, (bias, w.constant(product), ""), 0))
    scale, zero = _operands(node, (form.result, form.result + 1))
    if not scale:  # QGemm without a scale gives real numbers
        w.op(form.op, *reals, result=node.output[0], **given)
        return w.nodes
    operands = [w.op(form.op, *reals, **given), _in_float32(w, scale), *([zero] if zero else [])]
    w.op("QuantizeLinear", *operands, result=node.output[0])
    return w.nodes


def _dequantized(w: NodeWriter, operand: tuple[str, str, str], axis: int) -> str:
    codes, scale, zero = operand
    operands = [codes, _in_float32(w, scale), *([zero] if zero else [])]
    return w.op("DequantizeLinear", *operands, axis=axis)


def _in_float32(w: NodeWriter, scale: str) -> str:
    """A scale of float16 too: the integers between codes are exact in float32 alone."""
    return scale if w.facts.dtypes.get(scale) == "float32" else w.cast(scale, "float32")


def _operands(node: "onnx.NodeProto", places: Sequence[int]) -> list[str]:
    """The names at these places, "" for what is not there."""
    return [node.input[place] if place < len(node.input) else "" for place in places]

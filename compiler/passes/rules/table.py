"""The rules by name. Which operator is rewritten by which stands in `onnx_model.operator_table`."""

from collections.abc import Callable, Mapping

from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules import (
    columns,
    copies,
    detection,
    dynamic,
    elements,
    elementwise,
    frames,
    linear,
    movement,
    pooling,
    recurrent,
    reductions,
    rows,
    selection,
    sequences,
    text,
    tflite,
)

# A rule emits operations of ours and returns None, or says why there are none.
Rule = Callable[[Rewriter, Node], str | None]

RULES: Mapping[str, Rule] = {
    "conv": linear.conv,
    "gemm": linear.gemm,
    "matmul": linear.matmul,
    "add": elementwise.add,
    "mul": elementwise.mul,
    "div": elementwise.div,
    "max": elementwise.larger,
    "min": elementwise.smaller,
    "prelu": elementwise.prelu,
    "clip": elementwise.clip,
    "concat": elementwise.concat,
    "softmax": rows.softmax,
    "log_softmax": rows.log_softmax,
    "layer_norm": rows.layer_norm,
    "batch_norm": rows.batch_norm,
    "dynamic_quantize": dynamic.dynamic_quantize,
    "matmul_integer": dynamic.matmul_integer,
    "conv_integer": dynamic.conv_integer,
    "max_pool": pooling.max_pool,
    "average_pool": pooling.average_pool,
    "global_average_pool": pooling.global_average_pool,
    "global_max_pool": pooling.global_max_pool,
    "reduce_mean": reductions.mean,
    "reduce": reductions.reduce,
    "reshape": movement.reshape,
    "transpose": movement.transpose,
    "pad": movement.pad,
    "slice": movement.slice_,
    "gather": movement.gather,
    "split": movement.split,
    "resize": movement.resize,
    "expand": copies.expand,
    "tile": copies.tile,
    "depth_to_space": movement.depth_to_space,
    "space_to_depth": movement.space_to_depth,
    "arg_max": selection.arg_max,
    "top_k": selection.top_k,
    **elements.ELEMENT_RULES,
    **tflite.TFLITE_RULES,
    **frames.FRAME_RULES,
    **detection.DETECTION_RULES,
    **sequences.SEQUENCE_RULES,
    **text.TEXT_RULES,
    **columns.COLUMN_RULES,
    "recurrent": recurrent.steps,
}


def integer_rule(node: Node) -> Rule | None:
    """The rule that makes an integer operation of an ONNX operator, if it has one of its own."""
    return RULES.get(integer_rule_name(node))


def integer_rule_name(node: Node) -> str:
    """The name of that rule; "" for none."""
    op = onnx_op(node)
    return operators.integer_form(op.op_type, op.domain)


def float_rule(node: Node) -> Rule | None:
    """The rule that makes an operation on floats of an ONNX operator, if it has one of its own."""
    op = onnx_op(node)
    return RULES.get(operators.float_form(op.op_type, op.domain))

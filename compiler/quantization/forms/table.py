"""Which operator is written in others by which rule, when a model is quantized.

Each rule keeps the numbers; what it does not speak of stays as it is, and stays float.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import channel_norms, rewrites
from edgekiln.compiler.onnx_model.rewriting import ModelFacts, rewrite
from edgekiln.compiler.quantization.forms import (
    arithmetic,
    moves,
    normalizations,
    pools,
    reductions,
)

if TYPE_CHECKING:
    import onnx

# A rule may write operators that another one rewrites; a circle of rules would be a mistake of
# ours, and an error beyond so many rounds.
_MOST_ROUNDS = 8

Rule = Callable[[ModelFacts, "onnx.NodeProto"], "list[onnx.NodeProto] | None"]


def write(model: "onnx.ModelProto") -> int:
    """Rewrite in place what has no integer form, until nothing is left to rewrite.

    Returns:
        How many operators were rewritten.
    """

    def rule(facts: ModelFacts, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
        found = RULES.get(node.op_type)
        wanted = found and node.domain in ("", "ai.onnx") and node.output[0] in facts.floats
        return found(facts, node) if found and wanted else None

    count = 0
    for _ in range(_MOST_ROUNDS):
        if RULES.keys().isdisjoint(node.op_type for node in model.graph.node):
            return count
        rewritten = rewrite(model, rule)
        if not rewritten:
            return count
        rewrites.drop_unread(model)
        count += rewritten
    raise AssertionError(f"rewrites without an end: {sorted(RULES)}")


RULES: dict[str, Rule] = {
    "Add": arithmetic.broadcast,
    "AveragePool": pools.of_sequences,
    "BatchNormalization": normalizations.batch_norm,
    "CumSum": reductions.running_sum,
    "Div": arithmetic.quotient,
    "GlobalAveragePool": pools.of_all,
    "GlobalLpPool": reductions.length_of_image,
    "GlobalMaxPool": pools.of_all,
    "InstanceNormalization": channel_norms.instance_norm,
    "LRN": normalizations.local_response,
    "Max": arithmetic.of_two,
    "MaxPool": pools.of_sequences,
    "Mean": arithmetic.of_two,
    "Min": arithmetic.of_two,
    "Mul": arithmetic.broadcast,
    "Pad": moves.pad,
    "PRelu": arithmetic.broadcast,
    "ReduceL1": reductions.of_function,
    "ReduceL2": reductions.of_function,
    "ReduceLogSum": reductions.of_function,
    "ReduceLogSumExp": reductions.log_sum_exp,
    "ReduceMax": reductions.extreme,
    "ReduceMean": reductions.mean_or_sum,
    "ReduceMin": reductions.extreme,
    "ReduceSum": reductions.mean_or_sum,
    "ReduceSumSquare": reductions.of_function,
    "Slice": moves.slice_,
    "Softmax": normalizations.softmax,
    "Sum": arithmetic.of_two,
    "Trilu": arithmetic.triangle,
    "Where": arithmetic.where,
}

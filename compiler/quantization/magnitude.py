"""The magnitude of a spectrum, √(x² + y²), stays float: squares of 8-bit codes take 16 bits, and
what is left of them in 8 is only the loudest bins.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts


def in_magnitude(facts: "ModelFacts", node: "onnx.NodeProto") -> bool:
    """Whether a node is the root, the sum or a square of a magnitude."""
    if node.op_type == "Sqrt":
        return _is_sum_of_squares(facts, facts.makers.get(node.input[0]))
    if node.op_type == "Add":
        return _is_sum_of_squares(facts, node) and _only(facts, node, "Sqrt") is not None
    if is_square(facts, node):
        sum_ = _only(facts, node, "Add")
        return sum_ is not None and in_magnitude(facts, sum_)
    return False


def _only(facts: "ModelFacts", node: "onnx.NodeProto", kind: str) -> "onnx.NodeProto | None":
    """The only reader, if it is of a kind."""
    reader = facts.alone(node.output[0])
    return reader if reader is not None and reader.op_type == kind else None


def _is_sum_of_squares(facts: "ModelFacts", node: "onnx.NodeProto | None") -> bool:
    if node is None or node.op_type != "Add":
        return False
    makers = [facts.makers.get(name) for name in node.input]
    return all(maker is not None and is_square(facts, maker) for maker in makers)


def is_square(facts: "ModelFacts", node: "onnx.NodeProto") -> bool:
    """Whether a node multiplies a value by itself."""
    if node.op_type == "Pow":
        exponent = facts.constant(node, 1)
        return exponent is not None and bool((exponent == 2).all())
    # x · x: exporters write squares this way, too.
    return node.op_type == "Mul" and node.input[0] == node.input[1]

"""Uses of operators that give what they are given."""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts

    Nodes = list[onnx.NodeProto] | None


def cast(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """A Cast to the type that its operand has."""
    import onnx

    wanted = onnx.helper.tensor_dtype_to_np_dtype(operators.attributes(node)["to"]).name
    if facts.dtypes.get(node.input[0]) != wanted:
        return None
    return [onnx.helper.make_node("Identity", node.input[:1], node.output, node.name)]


def mean(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """A mean over axes of one value each, which leaves the value."""
    x, y = facts.static(node.input[0]), facts.static(node.output[0])
    dtype = facts.dtypes.get(node.input[0], "")
    if not x or y is None or np.prod(x) != np.prod(y) or not dtype.startswith("float"):
        return None
    w = NodeWriter(facts=facts, node=node)
    # Not an Identity: without keepdims the axes go.
    w.op("Reshape", node.input[0], w.numbers(*y), result=node.output[0])
    return w.nodes

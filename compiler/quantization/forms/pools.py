"""Pools over other than two axes, as pools of images with the same values."""

import math
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.compiler.onnx_model.rewriting import ModelFacts

if TYPE_CHECKING:
    import onnx

    Nodes = list[onnx.NodeProto] | None

# What each value of a window's attributes is along an axis that is not there.
_PLAIN = {"kernel_shape": 1, "strides": 1, "dilations": 1}


def of_sequences(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """A window along one axis is one of an image with a single row."""
    into, out = facts.fixed(node.input[0]), facts.fixed(node.output[0])
    # More than one result: the places of a MaxPool's maxima, which have no integer form.
    if into is None or out is None or len(into) != 2 or any(node.output[1:]):
        return None
    given = operators.attributes(node)
    for name, plain in _PLAIN.items():
        if name in given:
            given[name] = [plain, *given[name]]
    if "pads" in given:
        # Of an image: top, left, bottom, right.
        before, after = given["pads"]
        given["pads"] = [0, before, 0, after]
    w = NodeWriter(facts=facts, node=node)
    image = w.op("Reshape", node.input[0], w.numbers(-1, into[0], 1, into[1]))
    pooled = w.op(node.op_type, image, **given)
    w.op("Reshape", pooled, w.numbers(-1, *out), result=node.output[0])
    return w.nodes


def of_all(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """One window over whatever axes there are."""
    into, out = facts.fixed(node.input[0]), facts.fixed(node.output[0])
    if into is None or out is None or len(into) < 2 or len(into) == 3:
        return None
    w = NodeWriter(facts=facts, node=node)
    image = w.op("Reshape", node.input[0], w.numbers(-1, into[0], math.prod(into[1:]), 1))
    pooled = w.op(node.op_type, image)
    w.op("Reshape", pooled, w.numbers(-1, *out), result=node.output[0])
    return w.nodes

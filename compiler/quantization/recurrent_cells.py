"""What a recurrent cell does between its products stays float: gates, and the state they weigh.

A cell adds to its state in every step, so that what 8 bits cut off adds up; and the sums before a
gate are of a far larger range than where a sigmoid or tanh still changes. Its products, which are
nearly all of its work, are of codes, their sums as exact as an output's.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model.recurrent_layers import is_steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import onnx

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts

_PRODUCTS = ("Gemm", "MatMul")
_MOVES = ("Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")


@dataclass(kw_only=True)
class Cells:
    """The cells of a model."""

    nodes: set[str] = field(default_factory=set)  # that stay float, by name
    sums: set[str] = field(default_factory=set)  # results of products that nothing else reads


def cells(facts: "ModelFacts", nodes: "Sequence[onnx.NodeProto]") -> Cells:
    """Find them: an LSTM's c' = σ·c + σ·g and h' = σ·tanh(c'), a GRU's h' = tanh + σ·(h − tanh)."""
    found = Cells()
    inside: dict[str, onnx.NodeProto] = {}
    for node in nodes:
        if node.op_type != "Add":
            continue
        makers = [facts.makers.get(name) for name in node.input]
        gated = [each for each in makers if each is not None and _is_gated(facts, each)]
        tanh = [each for each in makers if each is not None and each.op_type == "Tanh"]
        if len(gated) == 2 or (len(gated) == 1 and len(tanh) == 1):
            _take(inside, [node, *gated, *_shown(facts, node)])
    for node in list(inside.values()):
        for name in node.input:
            if _is_function(facts.makers.get(name)):
                _walk(facts, name, inside)
    for node in list(inside.values()):
        if node.op_type in _MOVES:
            _siblings(facts, node.input[0], inside)
    layers = [node for node in nodes if is_steps(node)]
    _take(inside, (each for node in layers for each in _around_steps(facts, node)))
    found.sums |= {node.input[0] for node in layers if _is_sum(facts, node.input[0])}
    found.nodes = {node.name for node in inside.values()}
    for node in inside.values():
        for name in node.input:
            maker = facts.makers.get(name)
            readers = facts.readers.get(name, [])
            # Of a sum that floats alone read no codes are made, so nothing is lost before the gate.
            alone = name not in facts.outputs and all(r.name in found.nodes for r in readers)
            if maker is not None and maker.op_type in _PRODUCTS and alone:
                found.sums.add(name)
    return found


def _around_steps(facts: "ModelFacts", steps: "onnx.NodeProto") -> "Iterator[onnx.NodeProto]":
    """What moves the cell, or a GRU's state, that the steps of a layer begin with, and that which
    the last one leaves.
    """
    for name in steps.input[2:3] if steps.op_type == "LstmSteps" else steps.input[1:2]:
        maker = facts.makers.get(name)
        while maker is not None and maker.op_type in _MOVES:
            yield maker
            maker = facts.makers.get(maker.input[0])
    waiting = list(steps.output[1:2])
    while waiting:
        for node in facts.readers.get(waiting.pop(), []):
            if node.op_type in _MOVES:
                yield node
                waiting += node.output


def _is_sum(facts: "ModelFacts", name: str) -> bool:
    """Whether it is a product that nothing but steps reads."""
    maker = facts.makers.get(name)
    readers = facts.readers.get(name, [])
    alone = name not in facts.outputs and all(is_steps(node) for node in readers)
    return maker is not None and maker.op_type in _PRODUCTS and alone


def _take(inside: "dict[str, onnx.NodeProto]", nodes: "Iterable[onnx.NodeProto]") -> None:
    inside.update({node.name: node for node in nodes})


def _is_function(node: "onnx.NodeProto | None") -> bool:
    return node is not None and node.op_type in ("Sigmoid", "HardSigmoid", "Tanh")


def _is_gated(facts: "ModelFacts", node: "onnx.NodeProto") -> bool:
    """Whether a product of two tensors has a gate as one of them."""
    makers = [facts.makers.get(name) for name in node.input]
    return node.op_type == "Mul" and any(
        maker is not None and maker.op_type in ("Sigmoid", "HardSigmoid") for maker in makers
    )


def _shown(facts: "ModelFacts", cell: "onnx.NodeProto") -> "list[onnx.NodeProto]":
    """What an LSTM shows of its cell: the tanh, and its product with a gate."""
    shown = [node for node in facts.readers.get(cell.output[0], []) if node.op_type == "Tanh"]
    products = [r for node in shown for r in facts.readers.get(node.output[0], [])]
    return [*shown, *(node for node in products if _is_gated(facts, node))]


def _siblings(facts: "ModelFacts", sums: str, inside: "dict[str, onnx.NodeProto]") -> None:
    """The other gates of the same sums, such as a GRU's reset, and what they weigh."""
    for part in facts.readers.get(sums, []):
        gates = facts.readers.get(part.output[0], []) if part.op_type in _MOVES else []
        if gates and all(_is_function(gate) for gate in gates):
            weighed = [n for gate in gates for n in facts.readers.get(gate.output[0], [])]
            _take(inside, [part, *gates, *(node for node in weighed if node.op_type == "Mul")])


def _walk(facts: "ModelFacts", name: str, inside: "dict[str, onnx.NodeProto]") -> None:
    """A gate, and all that is summed before it, back to the products."""
    node = facts.makers.get(name)
    if node is None or (node.name in inside and not _is_function(node)):
        return
    if _is_function(node) or node.op_type in ("Add", "Mul", *_MOVES):
        _take(inside, [node])
        for operand in node.input if node.op_type in ("Add", "Mul") else node.input[:1]:
            _walk(facts, operand, inside)

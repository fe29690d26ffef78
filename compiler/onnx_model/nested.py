"""Graphs inside of graphs: the branches of If, the body of Loop."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx


def graphs_of(model: "onnx.ModelProto") -> "Iterator[onnx.GraphProto]":
    """The model's graph, and those inside of it."""
    stack = [model.graph]
    while stack:
        graph = stack.pop()
        yield graph
        stack += [inner for node in graph.node for inner in inner_graphs(node)]


def inner_graphs(node: "onnx.NodeProto") -> "list[onnx.GraphProto]":
    """The graphs among a node's attributes."""
    found = []
    for attribute in node.attribute:
        found += [attribute.g] if attribute.HasField("g") else []
        found += attribute.graphs
    return found


def tensors_of(model: "onnx.ModelProto") -> "Iterator[onnx.TensorProto]":
    """Every constant: weights, and values in attributes, of functions of the model's own, too."""
    nodes = [node for function in model.functions for node in function.node]
    for graph in graphs_of(model):
        yield from graph.initializer
        nodes += graph.node
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors

"""Graphs inside of graphs: the branches of If, the body of Loop."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


def renamed(node: "onnx.NodeProto", names: Mapping[str, str]) -> "onnx.NodeProto":
    """A copy with other names of tensors, those that graphs inside of it read from outside, too."""
    copy = type(node)()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    for graph in inner_graphs(copy):
        own = defined_in(graph)
        outer = {old: new for old, new in names.items() if old not in own}
        kept = [renamed(inner, outer) for inner in graph.node]
        del graph.node[:]
        graph.node.extend(kept)
        for output in graph.output:
            output.name = outer.get(output.name, output.name)
    return copy


def defined_in(graph: "onnx.GraphProto") -> set[str]:
    """The tensors that a graph names itself: inputs, weights, results."""
    own = {value.name for value in graph.input} | {weight.name for weight in graph.initializer}
    return own | {name for node in graph.node for name in node.output if name}

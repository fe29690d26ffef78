"""A function of floats joins the kernel that makes its argument: its last step before the store."""

from dataclasses import replace

from edgekiln.compiler.ir.function import Function
from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import Map
from edgekiln.compiler.ir.rewrite import graph_pass


@graph_pass
def fuse_function(graph: Graph) -> None:
    """Fuse where the function alone uses the result, moved or not."""
    producers, users = graph.producers(), graph.consumers()
    names: dict[str, str] = {}
    functions: dict[str, Function] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        if not isinstance(node.op, Map):
            continue
        chain = [producers.get(node.inputs[0])]
        # A function of each value may as well come before the values are moved.
        while (last := chain[-1]) and last.op.permutes and _is_alone(graph, last, users):
            chain.append(producers.get(last.inputs[0]))
        if not (last and _takes_function(graph, last, users)):
            continue
        functions[last.name] = node.op.function
        gone.add(node.name)
        first, *between = (made.name for made in chain if made)
        names[first] = node.name
        names |= {name: f"{name}:function" for name in between}  # no longer ONNX's value
    graph.nodes = [
        _with_function(node, functions).renamed(names)
        for node in graph.nodes
        if node.name not in gone
    ]
    for old, new in names.items():
        tensor = graph.tensors.pop(old)
        graph.tensors.setdefault(new, replace(tensor, name=new))


def _with_function(node: Node, functions: dict[str, Function]) -> Node:
    if node.name not in functions:
        return node
    return replace(node, op=node.op.with_function(functions[node.name]))


def _takes_function(graph: Graph, producer: Node, users: dict[str, list[Node]]) -> bool:
    on_floats = all(tensor.quant is None for tensor in graph.arrays(producer.inputs[:1]))
    has_floats = on_floats or producer.op.dequantizes
    return producer.op.takes_function() and has_floats and _is_alone(graph, producer, users)


def _is_alone(graph: Graph, node: Node, users: dict[str, list[Node]]) -> bool:
    """Whether one operation alone uses its result."""
    return len(users[node.name]) == 1 and node.name not in graph.outputs

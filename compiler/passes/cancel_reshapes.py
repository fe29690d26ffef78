"""A reshape that another one undoes is no work, whatever is computed element by element between
them: that is computed in the first shape.
"""

from dataclasses import replace

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.moves import Requantize
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import Binary, Lookup, Map
from edgekiln.compiler.ir.rewrite import graph_pass, remove_unused
from edgekiln.compiler.passes.chains import only_reshapes, readers_in_a_row


@graph_pass
def cancel_reshapes(graph: Graph) -> None:
    """An exporter squeezes an image behind a convolution and spreads it again before the next one:
    without the reshapes it stays channels-last between them.

    Left alone: what somebody else reads in the second shape.
    """
    while (found := _found(graph)) is not None:
        _reshaped(graph, *found)


def _found(graph: Graph) -> tuple[Node, list[Node], Node] | None:
    """A reshape, what is computed behind it, and the reshape that undoes it."""
    users = graph.consumers()
    for first in graph.nodes:
        if not only_reshapes(graph, first):
            continue
        shape, between = graph.tensors[first.inputs[0]].shape, list[Node]()
        name = first.name
        for node in readers_in_a_row(graph, users, name):
            if only_reshapes(graph, node) and graph.tensors[node.name].shape == shape:
                # The name of an output stays, which nothing but the reshape could write.
                if between or node.name not in graph.outputs:
                    return first, between, node
                break
            if not _is_elementwise(graph, node, name):
                break
            between.append(node)
            name = node.name
    return None


def _is_elementwise(graph: Graph, node: Node, name: str) -> bool:
    """Whether the other operands are one number, or one number an element."""
    if isinstance(node.op, Lookup | Requantize | Map):
        return True
    elements = graph.tensors[name].elements
    return isinstance(node.op, Binary) and all(
        other in graph.constants and graph.constants[other].size in (1, elements)
        for other in node.inputs
        if other != name
    )


def _reshaped(graph: Graph, first: Node, between: list[Node], last: Node) -> None:
    """Compute what is between in the first shape, for those who read the last reshape's result."""
    shape = graph.tensors[last.name].shape
    # A result in another shape is not what the model knows by its name; the last reshape's is.
    names = {node.name: f"{node.name}:in_first_shape" for node in between}
    names |= {node.name: last.name for node in between[-1:]} | {first.name: first.inputs[0]}
    made: dict[str, Node] = {}
    for node in between:
        for name in node.inputs:
            if name in graph.constants:
                names[name] = _constant(graph, name, shape, node.name)
        graph.put(replace(graph.tensors[node.name], name=names[node.name], shape=shape))
        made[node.name] = node.renamed(names)
    if not between:
        names[last.name] = first.inputs[0]
    others = [node for node in graph.nodes if node not in (first, last)]
    graph.nodes = [made.get(node.name) or node.renamed(names) for node in others]
    remove_unused(graph)


def _constant(graph: Graph, name: str, shape: tuple[int, ...], reader: str) -> str:
    """The constant in the shape of the other operand, under a name of its own."""
    value, tensor = graph.constants[name], graph.tensors[name]
    new = f"{name}:{reader}"
    wanted = (1,) * len(shape) if value.size == 1 else shape
    graph.constants[new] = value.reshape(wanted)
    graph.put(replace(tensor, name=new, shape=wanted))
    return new

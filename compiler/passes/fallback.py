"""Gather the operators that stayed float into islands, which TVM's Relax pipeline lowers."""

from edgekiln.compiler.ir.graph import Graph, Node
from edgekiln.compiler.passes.qdq_to_integer import schedule


def is_float(node: Node) -> bool:
    """Whether a node is still an ONNX operator."""
    return node.op[:1].isupper()


def islands(graph: Graph) -> None:
    """Group consecutive float operators, after moving them together as far as the order allows."""
    nodes = schedule(graph, graph.nodes, is_float)
    groups: list[list[Node]] = []
    for node in nodes:
        if is_float(node) and groups and is_float(groups[-1][0]):
            groups[-1].append(node)
        else:
            groups.append([node])
    users = graph.consumers()
    graph.nodes = [
        _island(graph, group, users) if is_float(group[0]) else group[0] for group in groups
    ]


def _island(graph: Graph, nodes: list[Node], users: dict[str, list[Node]]) -> Node:
    inside = {node.name for node in nodes}
    made = {name for node in nodes for name in node.outputs}
    used = dict.fromkeys(name for node in nodes for name in node.inputs if name)
    inputs = tuple(name for name in used if name not in made and name not in graph.constants)
    outputs = tuple(
        name
        for node in nodes
        for name in node.outputs
        if name in graph.outputs or any(u.name not in inside for u in users.get(name, ()))
    )
    reasons = dict.fromkeys(f"{node.op}: {node.reason}" for node in nodes)
    return Node(
        op="float",
        inputs=inputs,
        outputs=outputs,
        attrs={"nodes": tuple(nodes)},
        reason="; ".join(reasons),
    )

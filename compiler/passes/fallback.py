"""Gather the operators without a kernel of ours into subgraphs, which TVM's Relax lowers."""

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import Subgraph, is_onnx
from edgekiln.compiler.ir.rewrite import graph_pass, schedule


@graph_pass
def fallback_subgraphs(graph: Graph) -> None:
    """Group consecutive ONNX operators, after moving them together as far as the order allows."""
    groups: list[list[Node]] = []
    for node in schedule(graph, graph.nodes, is_onnx):
        if is_onnx(node) and groups and is_onnx(groups[-1][0]):
            groups[-1].append(node)
        else:
            groups.append([node])
    users = graph.consumers()
    graph.nodes = [
        _subgraph(graph, group, users) if is_onnx(group[0]) else group[0] for group in groups
    ]


def _subgraph(graph: Graph, nodes: list[Node], users: dict[str, list[Node]]) -> Node:
    inside = {node.name for node in nodes}
    made = {name for node in nodes for name in node.outputs}
    used = dict.fromkeys(name for node in nodes for name in node.inputs if name)
    inputs = tuple(name for name in used if name not in made and name not in graph.constants)
    # What is read inside alone stays a temporary of the subgraph, which TVM may fuse away.
    outputs = tuple(
        name
        for node in nodes
        for name in node.outputs
        if name in graph.outputs or any(u.name not in inside for u in users.get(name, ()))
    )
    reasons = dict.fromkeys(f"{node.op.kind}: {node.reason}" for node in nodes)
    return Node(
        op=Subgraph(nodes=tuple(nodes)), inputs=inputs, outputs=outputs, reason="; ".join(reasons)
    )

"""conv2d → add becomes one conv2d with a residual operand: the sum never leaves the registers."""

from edgekiln.compiler.ir.graph import Graph, Node


def fuse_residual(graph: Graph) -> None:
    """Fuse where the convolution's result is used by the addition alone.

    The bits do not change: codes are still rounded to the convolution's own quantization first.
    """
    producers, users = graph.producers(), graph.consumers()
    position = {node.name: i for i, node in enumerate(graph.nodes)}
    gone: set[str] = set()
    fused: dict[str, Node] = {}
    for add in graph.nodes:
        if add.op != "add":
            continue
        convs = [
            producers[name]
            for name in add.inputs
            if _fusible(graph, producers.get(name), users.get(name, []))
        ]
        shapes = {graph.tensors[name].shape for name in add.inputs}
        if not convs or len(shapes) > 1:
            continue
        conv = max(convs, key=lambda node: position[node.name])  # the other operand exists by then
        (other,) = [name for name in add.inputs if name != conv.name] or [""]
        if not other:
            continue  # x + x
        fused[add.name] = Node(
            op=conv.op,
            inputs=(conv.inputs[0], other),
            outputs=add.outputs,
            reason=conv.reason,
            attrs={
                **conv.attrs,
                "own": graph.tensors[conv.name].quant,
                "own_lo": conv.attrs["lo"],
                "own_hi": conv.attrs["hi"],
                "lo": add.attrs["lo"],
                "hi": add.attrs["hi"],
            },
        )
        gone.add(conv.name)
        producers[add.name] = fused[add.name]
    graph.nodes = [fused.get(node.name, node) for node in graph.nodes if node.name not in gone]
    for name in gone:
        del graph.tensors[name]


def _on_floats(graph: Graph, node: Node) -> bool:
    return all(tensor.quant is None for tensor in graph.arrays(node.inputs))


def _fusible(graph: Graph, node: Node | None, users: list[Node]) -> bool:
    return (
        node is not None
        and (node.op == "conv2d" or (node.op == "dense" and _on_floats(graph, node)))
        and "lo" in node.attrs
        and len(node.inputs) == 1
        and len(users) == 1
        and node.name not in graph.outputs
    )

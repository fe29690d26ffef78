"""conv2d → add becomes one conv2d with a residual operand: the sum never leaves the registers."""

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import Binary
from edgekiln.compiler.ir.rewrite import graph_pass


@graph_pass
def fuse_residual(graph: Graph) -> None:
    """Fuse where the convolution's result is used by the addition alone.

    The bits do not change: codes are still rounded to the convolution's own quantization first.
    """
    producers, users = graph.producers(), graph.consumers()
    position = {node.name: i for i, node in enumerate(graph.nodes)}
    gone: set[str] = set()
    fused: dict[str, Node] = {}
    for node in graph.nodes:
        add = node.op
        if not isinstance(add, Binary) or add.function != "add":
            continue
        convs = [
            producers[name]
            for name in node.inputs
            if _fusible(graph, producers.get(name), users.get(name, []))
        ]
        shapes = {graph.tensors[name].shape for name in node.inputs}
        # A residual operand has one value for each sum: it is not broadcast.
        if not convs or len(shapes) > 1:
            continue
        conv = max(convs, key=lambda made: position[made.name])  # the other operand exists by then
        (other,) = [name for name in node.inputs if name != conv.name] or [""]
        if not other:
            continue  # x + x
        fused[node.name] = Node(
            op=conv.op.with_residual(graph.tensors[conv.name].quant, add.finish),
            inputs=(conv.inputs[0], other),
            outputs=node.outputs,
            reason=conv.reason,
        )
        gone.add(conv.name)
        # Who asks for the maker of this sum finds the convolution, which takes no second operand.
        producers[node.name] = fused[node.name]
    graph.nodes = [fused.get(node.name, node) for node in graph.nodes if node.name not in gone]
    for name in gone:
        del graph.tensors[name]


def _fusible(graph: Graph, node: Node | None, users: list[Node]) -> bool:
    return (
        node is not None
        and node.op.takes_residual()
        and len(users) == 1
        and node.name not in graph.outputs
    )

"""Transposes that are no work: of operands and results of products, whose kernels read and write
with any strides; and of images that lie channels-last already.
"""

from dataclasses import replace
from math import prod

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.linear import MatMul
from edgekiln.compiler.ir.moves import Reshape, Transpose
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.rewrite import graph_pass, remove_unused


@graph_pass
def fuse_transpose(graph: Graph) -> None:
    """Let products read through the transposes of their operands, and write through that of their
    result, as far as rows stay dense: the left operand's and the result's last axis stays.
    """
    producers, users = graph.producers(), graph.consumers()
    moved: dict[str, Node] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        op = node.op
        if not isinstance(op, MatMul):
            continue
        (a, a_perm), (b, b_perm) = (
            _through(producers.get(name), name, perm, last_stays)
            for name, perm, last_stays in zip(
                node.inputs, (op.a_perm, op.b_perm), (True, False), strict=True
            )
        )
        outputs, y_perm = node.outputs, op.y_perm
        after = users.get(node.name, [])
        if len(after) == 1 and node.name not in graph.outputs and y_perm is None:
            perm = _dense_perm(after[0], last_stays=True)
            if perm is not None:
                # The inverse: on which axis of what is written each axis of the product lies.
                y_perm = tuple(perm.index(axis) for axis in range(len(perm)))
                outputs = after[0].outputs
                gone.add(after[0].name)
        if (a, b, outputs) != (*node.inputs, node.outputs):
            op = replace(op, a_perm=a_perm, b_perm=b_perm, y_perm=y_perm)
            moved[node.name] = replace(node, op=op, inputs=(a, b), outputs=outputs)
    graph.nodes = [moved.get(node.name, node) for node in graph.nodes if node.name not in gone]
    remove_unused(graph)


def _through(
    maker: Node | None, name: str, perm: tuple[int, ...] | None, last_stays: bool
) -> tuple[str, tuple[int, ...] | None]:
    """What a product may read in place of an operand, and how."""
    found = _dense_perm(maker, last_stays) if maker is not None and perm is None else None
    return (name, perm) if maker is None or found is None else (maker.inputs[0], found)


def _dense_perm(node: Node, last_stays: bool) -> tuple[int, ...] | None:
    """The permutation of a transpose that leaves rows dense where they must be."""
    if not isinstance(node.op, Transpose):
        return None
    perm = node.op.perm
    return perm if not last_stays or perm[-1] == len(perm) - 1 else None


@graph_pass
def pixels_as_rows(graph: Graph) -> None:
    """(N, C, H, W) → (N, C, H·W) → (N, H·W, C) becomes (N, C, H, W) → (N, H, W, C) → (N, H·W, C):
    the patches of a vision transformer, which a convolution writes in this order.
    """
    producers = graph.producers()
    nodes: list[Node] = []
    for node in graph.nodes:
        op, flat = node.op, producers.get(node.inputs[0])
        turned = isinstance(op, Transpose) and op.perm == (0, 2, 1)
        if not turned or flat is None or not _flattens_pixels(graph, flat):
            nodes.append(node)
            continue
        image = graph.tensors[flat.inputs[0]]
        n, c, h, w = image.shape
        pixels = replace(image, name=f"{node.name}:pixels", shape=(n, h, w, c))
        graph.put(pixels)
        # Of an image that lies channels-last this is no work, and neither is the reshape behind
        # it.
        turn = Transpose(perm=(0, 2, 3, 1))
        nodes += [
            Node(op=turn, inputs=(image.name,), outputs=(pixels.name,)),
            Node(op=Reshape(), inputs=(pixels.name,), outputs=node.outputs),
        ]
    graph.nodes = nodes
    remove_unused(graph)


def _flattens_pixels(graph: Graph, node: Node) -> bool:
    if not isinstance(node.op, Reshape):
        return False
    image, rows = graph.tensors[node.inputs[0]], graph.tensors[node.name]
    return len(image.shape) == 4 and rows.shape == (*image.shape[:2], prod(image.shape[2:]))

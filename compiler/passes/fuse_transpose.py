"""Transposes that are no work: of operands and results of products, whose kernels read and write
with any strides; and of images that lie channels-last already.
"""

from dataclasses import replace
from math import prod

from edgekiln.compiler.ir.graph import Graph, Node
from edgekiln.compiler.passes.qdq_to_integer import remove_unused


def fuse_transpose(graph: Graph) -> None:
    """Let products read through the transposes of their operands, and write through that of their
    result, as far as rows stay dense: the left operand's and the result's last axis stays.

    Sets "a_perm", "b_perm" and "y_perm": the ONNX axes of the tensors in memory that are the
    product's own axes.
    """
    producers, users = graph.producers(), graph.consumers()
    moved: dict[str, Node] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        if node.op != "matmul":
            continue
        attrs, inputs = dict(node.attrs), list(node.inputs)
        for i, key in enumerate(("a_perm", "b_perm")):
            source = producers.get(inputs[i])
            if source is not None and source.op == "transpose" and _dense(source, i == 0):
                inputs[i], attrs[key] = source.inputs[0], source.attrs["perm"]
        outputs = node.outputs
        after = users.get(node.name, [])
        if len(after) == 1 and after[0].op == "transpose" and node.name not in graph.outputs:
            perm = after[0].attrs["perm"]
            if _dense(after[0], True):
                attrs["y_perm"] = tuple(perm.index(axis) for axis in range(len(perm)))
                outputs = after[0].outputs
                gone.add(after[0].name)
        moved[node.name] = replace(node, inputs=tuple(inputs), outputs=outputs, attrs=attrs)
    graph.nodes = [moved.get(node.name, node) for node in graph.nodes if node.name not in gone]
    remove_unused(graph)


def _dense(transpose: Node, last_stays: bool) -> bool:
    perm = transpose.attrs["perm"]
    return not last_stays or perm[-1] == len(perm) - 1


def pixels_as_rows(graph: Graph) -> None:
    """(N, C, H, W) → (N, C, H·W) → (N, H·W, C) becomes (N, C, H, W) → (N, H, W, C) → (N, H·W, C):
    the patches of a vision transformer, which a convolution writes in this order.
    """
    producers = graph.producers()
    nodes: list[Node] = []
    for node in graph.nodes:
        flat = producers.get(node.inputs[0]) if node.op == "transpose" else None
        if flat is None or not _flattens_pixels(graph, flat) or node.attrs["perm"] != (0, 2, 1):
            nodes.append(node)
            continue
        image = graph.tensors[flat.inputs[0]]
        n, c, h, w = image.shape
        pixels = replace(image, name=f"{node.name}:pixels", shape=(n, h, w, c))
        graph.tensors[pixels.name] = pixels
        nodes += [
            Node(
                op="transpose",
                inputs=(image.name,),
                outputs=(pixels.name,),
                attrs={"perm": (0, 2, 3, 1)},
            ),
            Node(op="reshape", inputs=(pixels.name,), outputs=node.outputs),
        ]
    graph.nodes = nodes
    remove_unused(graph)


def _flattens_pixels(graph: Graph, node: Node) -> bool:
    if node.op != "reshape":
        return False
    image, rows = graph.tensors[node.inputs[0]], graph.tensors[node.name]
    return len(image.shape) == 4 and rows.shape == (*image.shape[:2], prod(image.shape[2:]))

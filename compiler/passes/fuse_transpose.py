"""transpose → matmul → transpose is one product: its kernels read and write with any strides."""

from dataclasses import replace

from edgekiln.compiler.graph import Graph, Node
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

"""Images lie channels-last in memory; everything else as ONNX has it."""

from dataclasses import replace

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.moves import Reshape, Transpose
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.rewrite import graph_pass

_SAME_AXES = (0, 1, 2, 3)


@graph_pass
def layout(graph: Graph) -> None:
    """Choose each rank-4 tensor's layout, and put copies where who reads it wants another."""
    images = _images(graph)
    # The order of the program's own inputs and outputs is its users'; that of a state, nobody's.
    own = images - {*graph.inputs, *graph.outputs} | _image_states(graph, images)
    for name in own:
        graph.put(replace(graph.tensors[name], layout="NHWC"))
    _reorder_edges(graph, images - own)
    _reorder_rows(graph)
    _reorder_reshapes(graph)


def _images(graph: Graph) -> set[str]:
    """What operations on images read and make, and what must agree with that in its layout."""
    edges = {*graph.inputs, *graph.outputs}
    operands = [
        (
            node.op,
            {
                t.name
                for t in graph.arrays((*node.inputs, *node.outputs))
                if len(t.shape) == 4
                and not (node.op.turns_edges and t.quant is None and t.name in edges)
            },
        )
        for node in graph.nodes
    ]
    images: set[str] = set()
    grown = {name for op, names in operands if op.is_image for name in names}
    # To a fixed point: a sum spreads its layout to operands whose makers were looked at before.
    while grown != images:
        images = grown
        for op, names in operands:
            if op.spreads_layout and names & grown:
                grown = grown | names
    return images


def _image_states(graph: Graph, images: set[str]) -> set[str]:
    """The states both of whose ends are images: what one call leaves the next one reads."""
    pairs = [{state.input, state.output} for state in graph.states]
    return {name for pair in pairs if pair <= images for name in pair}


def _reorder_edges(graph: Graph, images: set[str]) -> None:
    """An image that is the program's input or output stays as ONNX has it, behind a copy."""
    # Sorted: a set has no order, and equal models should become equal programs.
    for name in sorted(images & {*graph.inputs, *graph.outputs}):
        inner = replace(graph.tensors[name], name=f"{name}:NHWC", layout="NHWC")
        graph.insert_edge(name, inner, Transpose(perm=_SAME_AXES))


def _reorder_rows(graph: Graph) -> None:
    """Put a copy between a tensor that lies channels-last and who wants it in ONNX's order."""
    nodes: list[Node] = []
    for node in graph.nodes:
        plain: dict[str, str] = {}
        for tensor in graph.arrays((*node.inputs, *node.outputs)):
            if tensor.layout == "NHWC" and node.op.wants_rows(tensor):
                plain[tensor.name] = f"{tensor.name}:rows:{node.name}"
                graph.put(replace(tensor, name=plain[tensor.name], layout="plain"))
        copies = [_copy(plain[name], name) for name in node.outputs if name in plain]
        nodes += [_copy(name, plain[name]) for name in dict.fromkeys(node.inputs) if name in plain]
        nodes += [node.renamed(plain), *copies]
    graph.nodes = nodes


def _reorder_reshapes(graph: Graph) -> None:
    """Images become others by ONNX's order, which both are named in."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if not isinstance(node.op, Reshape):
            nodes.append(node)
            continue
        image, result = graph.tensors.get(node.inputs[0]), graph.tensors[node.name]
        if (
            image is not None
            and image.layout == result.layout == "NHWC"
            and image.shape != result.shape
        ):
            rows = f"{image.name}:rows:{node.name}"
            graph.put(replace(image, name=rows, layout="plain"))
            nodes += [_copy(image.name, rows), node.renamed({image.name: rows})]
        else:
            nodes.append(node)
    graph.nodes = nodes


def _copy(source: str, to: str) -> Node:
    """The same axes, whatever the layouts."""
    return Node(op=Transpose(perm=_SAME_AXES), inputs=(source,), outputs=(to,))

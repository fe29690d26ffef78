"""Images lie channels-last in memory; everything else as ONNX has it."""

from dataclasses import replace

from edgekiln.compiler.ir.graph import Graph, Node, Tensor

IMAGE_OPS = frozenset({"conv2d", "max_pool", "avg_pool", "global_avg_pool", "interleave"})
# Their operands and results must agree, so the layout spreads through them.
SPREADING = frozenset(
    {"add", "mul", "requantize", "table", "function", "concat", "conv2d", "pad", "slice", "repeat"}
)

# They work on rows, dense along the last ONNX axis, or want all in ONNX's order: where a neighbour
# wants an image channels-last, it is copied.
ROW_OPS = frozenset({"dense", "matmul", "softmax", "layer_norm", "float"})
FLOAT_EDGES = frozenset({"quantize", "dequantize"})  # their float side is such an operand


def layout(graph: Graph) -> None:
    """Choose each rank-4 tensor's layout, then let dense layers absorb flattened images."""
    images = {
        tensor.name
        for node in graph.nodes
        if node.op in IMAGE_OPS
        for tensor in graph.arrays((*node.inputs, *node.outputs))
        if len(tensor.shape) == 4
    }
    while True:
        grown = set(images)
        for node in graph.nodes:
            names = {
                tensor.name
                for tensor in graph.arrays((*node.inputs, *node.outputs))
                if len(tensor.shape) == 4
            }
            if node.op in SPREADING and names & grown:
                grown |= names
        if grown == images:
            break
        images = grown
    for name in images - {*graph.inputs, *graph.outputs}:
        graph.retype(name, layout="NHWC")
    _reorder_edges(graph, images)
    _reorder_rows(graph)
    _absorb_flatten(graph)


def memory_order(tensor: Tensor) -> tuple[int, ...]:
    """The ONNX axes in memory order, outermost first, without those of extent 1."""
    axes = (0, 2, 3, 1) if tensor.layout == "NHWC" else range(len(tensor.shape))
    return tuple(axis for axis in axes if tensor.shape[axis] > 1)


def is_plain(tensor: Tensor) -> bool:
    """Whether the values lie in ONNX's order, whatever the layout is called."""
    order = memory_order(tensor)
    return order == tuple(sorted(order)) and not tensor.halo


def _reorder_edges(graph: Graph, images: set[str]) -> None:
    """An image that is the program's input or output stays as ONNX has it, behind a copy."""
    for name in sorted(images & {*graph.inputs, *graph.outputs}):
        inner = replace(graph.tensors[name], name=f"{name}:NHWC", layout="NHWC")
        graph.insert_edge(name, inner, "transpose", perm=(0, 1, 2, 3))


def _reorder_rows(graph: Graph) -> None:
    """Put a copy between an operation on rows and a tensor that lies channels-last."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op not in ROW_OPS | FLOAT_EDGES:
            nodes.append(node)
            continue
        plain: dict[str, str] = {}
        for tensor in graph.arrays((*node.inputs, *node.outputs)):
            on_edge = node.op in FLOAT_EDGES and tensor.quant is not None
            if tensor.layout == "NHWC" and not on_edge:
                plain[tensor.name] = f"{tensor.name}:rows:{node.name}"
                graph.tensors[plain[tensor.name]] = replace(
                    tensor, name=plain[tensor.name], layout="plain"
                )
        rows = node.renamed(plain)
        copies = [_copy(plain[name], name) for name in node.outputs if name in plain]
        nodes += [_copy(name, plain[name]) for name in dict.fromkeys(node.inputs) if name in plain]
        nodes += [rows, *copies]
    graph.nodes = nodes


def _copy(source: str, to: str) -> Node:
    """The same axes, whatever the layouts."""
    return Node(op="transpose", inputs=(source,), outputs=(to,), attrs={"perm": (0, 1, 2, 3)})


def _absorb_flatten(graph: Graph) -> None:
    """reshape (N, C, H, W) → (N, C·H·W) → dense: reorder the weights instead of the image."""
    users = graph.consumers()
    dense: dict[str, Node] = {}
    for node in graph.nodes:
        if node.op != "reshape" or node.name in graph.outputs:
            continue
        image, flat = graph.tensors[node.inputs[0]], graph.tensors[node.name]
        consumers = users.get(node.name, [])
        if (
            image.layout == "NHWC"
            and flat.shape == (image.shape[0], image.elements // image.shape[0])
            and all(user.op == "dense" for user in consumers)
            and not is_plain(image)
        ):
            node.attrs["memory"] = True  # the bytes stay where they are
            for user in consumers:
                weight = user.attrs["weight"].reshape(-1, *image.shape[1:])
                packed = weight.transpose(0, 2, 3, 1).reshape(user.attrs["weight"].shape)
                dense[user.name] = replace(user, attrs={**user.attrs, "weight": packed.copy()})
    graph.nodes = [dense.get(node.name, node) for node in graph.nodes]

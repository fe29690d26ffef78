"""DQ → op → [activation] → Q becomes one integer operation.

What has no integer form stays an ONNX operator between dequantize and quantize, with the reason.
"""

from collections.abc import Callable
from dataclasses import replace

from edgekiln.compiler.ir.graph import Graph, Node, Tensor
from edgekiln.compiler.passes.rewriter import QuantizedConstant, Rewriter
from edgekiln.compiler.passes.rules import elementwise, linear, movement, pooling, rows

# A rule emits the integer form and returns None, or says why there is none.
Rule = Callable[[Rewriter, Node], str | None]

RULES: dict[str, Rule] = {
    "Conv": linear.conv,
    "Gemm": linear.gemm,
    "MatMul": linear.matmul,
    "Add": elementwise.add,
    "Mul": elementwise.mul,
    "Relu": elementwise.clip,
    "Clip": elementwise.clip,
    "Concat": elementwise.concat,
    "Softmax": rows.softmax,
    "LayerNormalization": rows.layer_norm,
    "MaxPool": pooling.max_pool,
    "AveragePool": pooling.average_pool,
    "GlobalAveragePool": pooling.global_average_pool,
    "GlobalMaxPool": pooling.global_max_pool,
    "ReduceMean": pooling.reduce_mean,
    "Reshape": movement.reshape,
    "Flatten": movement.reshape,
    "Squeeze": movement.reshape,
    "Unsqueeze": movement.reshape,
    "Identity": movement.reshape,
    "Dropout": movement.reshape,
    "Transpose": movement.transpose,
    "Pad": movement.pad,
    "Slice": movement.slice_,
    "Gather": movement.gather,
    "Split": movement.split,
    "Resize": movement.resize,
}


def is_quantized(graph: Graph) -> bool:
    return any(node.op in ("QuantizeLinear", "DequantizeLinear") for node in graph.nodes)


def qdq_to_integer(graph: Graph) -> None:
    """Rewrite in place. Afterwards only "dequantize" and "quantize" join floats and integers."""
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        if node.name not in rewriter.absorbed:
            _visit(rewriter, node)
    _expose_floats(rewriter)
    graph.nodes = rewriter.nodes
    remove_unused(graph)


def _visit(rewriter: Rewriter, node: Node) -> None:
    if node.op == "DequantizeLinear":
        _dequantize(rewriter, node)
    elif node.op == "QuantizeLinear" and rewriter.per_tensor(node):
        _quantize(rewriter, node)
    else:
        rule = RULES.get(node.op)
        reason = rule(rewriter, node) if rule else f"{node.op} has no integer form"
        if reason is not None:
            rewriter.emit(replace(node, reason=reason))


def _dequantize(rewriter: Rewriter, node: Node) -> None:
    """A constant is kept as integers; an activation becomes a view of its integers."""
    import numpy as np

    graph = rewriter.graph
    name = node.inputs[0]
    if name in graph.constants:
        values, scale = graph.constants[name], graph.constants[node.inputs[1]]
        zero = np.zeros(1, values.dtype)
        if len(node.inputs) > 2 and node.inputs[2]:
            zero = graph.constants[node.inputs[2]]
        axis = node.attrs.get("axis", 1) % max(values.ndim, 1)
        rewriter.weights[node.name] = QuantizedConstant(
            values=values, scale=scale.astype(np.float32).reshape(-1), zero_point=zero.reshape(-1),
            axis=axis,
        )  # fmt: skip
        return
    source = graph.tensors[name]
    if not rewriter.per_tensor(node) or source.dtype not in ("int8", "uint8"):
        rewriter.emit(node)
        return
    quant = rewriter.scale(node)
    if source.quant is None:  # an integer input of the program
        graph.retype(name, quant=quant)
    elif source.quant != quant:  # the same bytes, read with other parameters
        alias = f"{node.name}:int"
        graph.tensors[alias] = Tensor(
            name=alias, shape=source.shape, dtype=source.dtype, quant=quant
        )
        rewriter.emit(Node(op="reshape", inputs=(name,), outputs=(alias,)))
        name = alias
    rewriter.view[node.name] = name


def _quantize(rewriter: Rewriter, node: Node) -> None:
    graph = rewriter.graph
    quant, dtype = rewriter.scale(node), rewriter.quantized_dtype(node)
    source = rewriter.source(node.inputs[0])
    graph.retype(node.name, quant=quant, dtype=dtype)
    if source is None:
        if not elementwise.table(rewriter, node):
            rewriter.emit(Node(op="quantize", inputs=node.inputs[:1], outputs=node.outputs))
        return
    same = source.quant == quant and source.dtype == dtype
    op = "reshape" if same else "requantize"
    rewriter.emit(Node(op=op, inputs=(source.name,), outputs=node.outputs))


def _expose_floats(rewriter: Rewriter) -> None:
    """Give float operators and outputs real floats where they use integers."""
    graph = rewriter.graph
    needed = [name for node in rewriter.nodes for name in node.inputs] + graph.outputs
    produced = {name for node in rewriter.nodes for name in node.outputs}
    dequantized: list[Node] = []
    for name in dict.fromkeys(needed):
        if name in produced:
            continue
        if name in rewriter.view:
            dequantized.append(
                Node(op="dequantize", inputs=(rewriter.view[name],), outputs=(name,))
            )
        elif name in rewriter.weights:
            graph.constants[name] = rewriter.weights[name].dequantized()
    rewriter.nodes = schedule(graph, rewriter.nodes + dequantized, lambda _: False)


def schedule(graph: Graph, nodes: list[Node], prefer: Callable[[Node], bool]) -> list[Node]:
    """Topological order that keeps the given order, but runs nodes of a kind together.

    Once a node that `prefer` accepts is due, every accepted node that is ready follows.
    """
    ready = {*graph.inputs, *graph.constants, ""}
    waiting = list(nodes)
    ordered: list[Node] = []
    while waiting:
        due = [node for node in waiting if ready.issuperset(node.inputs)]
        assert due, [node.name for node in waiting]
        together = bool(ordered) and prefer(ordered[-1])
        node = next((node for node in due if together and prefer(node)), due[0])
        waiting.remove(node)
        ordered.append(node)
        ready.update(node.outputs)
    return ordered


def remove_unused(graph: Graph) -> None:
    """Drop nodes that no output needs, then the tensors and constants that no node names."""
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    graph.nodes = kept[::-1]
    names = needed | {name for node in graph.nodes for name in node.outputs} | set(graph.inputs)
    graph.tensors = {name: t for name, t in graph.tensors.items() if name in names}
    graph.constants = {name: c for name, c in graph.constants.items() if name in names}

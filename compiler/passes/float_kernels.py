"""Float operators become operations with kernels of our own: all of a float model, and what has no
integer form in a quantized one.

The rest stays ONNX operators, for islands.
"""

from edgekiln.compiler.ir.graph import Graph, Node
from edgekiln.compiler.passes import functions
from edgekiln.compiler.passes.fallback import is_float
from edgekiln.compiler.passes.float_rewriter import FloatRewriter
from edgekiln.compiler.passes.qdq_to_integer import RULES as INTEGER_RULES
from edgekiln.compiler.passes.qdq_to_integer import Rule, remove_unused
from edgekiln.compiler.passes.rules import floats

# Of the others, a rule that asks nothing of the numbers holds for floats as well.
RULES: dict[str, Rule] = {
    **INTEGER_RULES,
    "Conv": floats.conv,
    "Gemm": floats.gemm,
    "MatMul": floats.matmul,
    "BatchNormalization": floats.batch_norm,
    "Softmax": floats.softmax,
    "LayerNormalization": floats.layer_norm,
}


def float_kernels(graph: Graph) -> None:
    """Rewrite in place."""
    rewriter = FloatRewriter(graph)
    seen = functions.Seen(rewriter)
    for node in graph.nodes:
        if node.name in rewriter.absorbed:
            continue
        rewriter.reason = node.reason
        if not is_float(node):
            rewriter.emit(node)
        elif not seen.take(node):
            rule = RULES.get(node.op) if _on_floats(graph, node) else None
            reason = rule(rewriter, node) if rule else f"{node.op} has no float kernel"
            if reason is not None:
                rewriter.reason = node.reason or reason
                rewriter.emit(node)
    graph.nodes = rewriter.nodes
    remove_unused(graph)


def _on_floats(graph: Graph, node: Node) -> bool:
    """Whether the activations it reads and writes are float32."""
    tensors = [graph.tensors.get(name) for name in (*node.inputs, *node.outputs)]
    return all(tensor.dtype == "float32" for tensor in tensors if tensor is not None)

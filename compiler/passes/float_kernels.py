"""Float operators become operations with kernels of our own: all of a float model, and what has no
integer form in a quantized one.

The rest stays ONNX operators, for fallback subgraphs.
"""

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import is_onnx, onnx_op
from edgekiln.compiler.ir.rewrite import graph_pass, remove_unused
from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.detection_functions import DOMAIN as DETECTION
from edgekiln.compiler.onnx_model.ends.functions import DOMAIN as ENDS
from edgekiln.compiler.passes.functions import Seen
from edgekiln.compiler.passes.numbers import FloatNumbers
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.elements import ELEMENT_RULES
from edgekiln.compiler.passes.rules.table import float_rule

_NUMBERING = ("arg_max", "top_k")  # forms whose results are places


@graph_pass
def float_kernels(graph: Graph) -> None:
    """Rewrite in place."""
    rewriter = Rewriter(graph=graph, numbers=FloatNumbers())
    seen = Seen(rewriter)
    for node in graph.nodes:
        if node.name in rewriter.absorbed:
            continue
        rewriter.reason = node.reason
        if not is_onnx(node):
            rewriter.emit(node)
        elif not seen.take(node):
            rule = float_rule(node) if _on_floats(graph, node) else None
            reason = rule(rewriter, node) if rule else f"{node.op.kind} has no float kernel"
            # An operator that has a reason already keeps it: why it is no integer says more to
            # the user.
            if reason is not None:
                rewriter.reason = node.reason or reason
                rewriter.emit(node)
    graph.nodes = rewriter.nodes
    remove_unused(graph)


def _on_floats(graph: Graph, node: Node) -> bool:
    """Whether the activations it reads and writes are float32. Other operands and results, such as
    the numbers of rows, may be of other types.
    """
    op = onnx_op(node)
    if op.domain in (ENDS, DETECTION):
        return True  # its bytes, and numbers of boxes, are the same whatever the network's are
    row = operators.find(op.op_type, op.domain)
    if row is not None and row.float_form in ELEMENT_RULES:
        return True  # its rule looks at types itself
    read = node.inputs if row is None or row.data == "all" else node.inputs[:1]
    made = () if row is not None and row.float_form in _NUMBERING else node.outputs
    tensors = [graph.tensors.get(name) for name in (*read, *made)]
    return all(tensor.dtype == "float32" for tensor in tensors if tensor is not None)

"""What stayed float, and whether the model meant it to be quantized."""

from collections.abc import Iterable
from dataclasses import dataclass

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import is_onnx
from edgekiln.compiler.ir.ops import Dequantize, Quantize
from edgekiln.compiler.onnx_model import operators


@dataclass(frozen=True, kw_only=True)
class FloatOperator:
    """An operator that stayed float, and why."""

    name: str  # the ONNX tensor it produces
    op: str
    reason: str
    quantized: bool  # it works between DequantizeLinear and QuantizeLinear, or is a heavy one

    def __str__(self) -> str:
        return f"{self.op} {self.name!r}: {self.reason}"


def float_operators(graph: Graph) -> list[FloatOperator]:
    """Every operator that is still ONNX's after `qdq_to_integer`, in order."""
    dequantized = {node.name for node in graph.nodes if isinstance(node.op, Dequantize)}
    quantized = {node.inputs[0] for node in graph.nodes if isinstance(node.op, Quantize)}
    nodes = [node for node in graph.nodes if is_onnx(node)]
    enclosed: set[str] = set()
    for group in _connected(nodes):
        made = {name for node in group for name in node.outputs}
        used = {name for node in group for name in node.inputs if name} - {*graph.constants}
        results = made - used
        if used - made <= dequantized and results <= quantized:
            enclosed |= made
    return [
        FloatOperator(
            name=node.name,
            op=node.op.kind,
            reason=node.reason,
            quantized=node.name in enclosed or operators.heavy(node.op.kind),
        )
        for node in nodes
    ]


def _connected(nodes: Iterable[Node]) -> list[list[Node]]:
    """Groups of nodes that hand floats to each other."""
    groups: list[list[Node]] = []
    for node in nodes:
        joined = [node]
        apart = []
        for group in groups:
            made = {name for other in group for name in other.outputs}
            if made & {*node.inputs}:
                joined = [*group, *joined]
            else:
                apart.append(group)
        groups = [*apart, joined]
    return groups

"""What stayed float, and whether the model meant it to be quantized."""

from dataclasses import dataclass

from edgekiln.compiler.graph import Graph

# These are where the time goes: in float they are worth a word wherever they stand.
HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN"})


@dataclass(frozen=True, kw_only=True)
class FloatOperator:
    name: str  # the ONNX tensor it produces
    op: str
    reason: str
    quantized: bool  # it stands between DequantizeLinear and QuantizeLinear, or is a heavy one

    def __str__(self) -> str:
        return f"{self.op} {self.name!r}: {self.reason}"


def float_operators(graph: Graph) -> list[FloatOperator]:
    """Every operator inside the islands of a lowered graph, in order."""
    islands = [node for node in graph.nodes if node.op == "float"]
    nodes = [node for island in islands for node in island.attrs["nodes"]]
    dequantized = {n.name for n in graph.nodes if n.op == "dequantize"}
    quantized = {n.inputs[0] for n in graph.nodes if n.op == "quantize"}
    found = []
    for node in nodes:
        data = [name for name in node.inputs if name and name not in graph.constants]
        between = bool(data) and dequantized.issuperset(data) and quantized >= {*node.outputs}
        found.append(
            FloatOperator(
                name=node.name,
                op=node.op,
                reason=node.reason,
                quantized=between or node.op in HEAVY,
            )
        )
    return found

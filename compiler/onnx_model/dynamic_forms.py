"""Products of dynamically quantized numbers that ONNX Runtime adds (`com.microsoft`), in ONNX's.

They become what ONNX Runtime's quantizer writes, and its optimizer makes them of:
DynamicQuantizeLinear, MatMulInteger, Cast, Mul, Add.
"""

from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model.node_writer import NodeWriter

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts

    Nodes = list[onnx.NodeProto] | None

MICROSOFT = "com.microsoft"
_DYNAMIC = 11  # DynamicQuantizeLinear is there since this operator set


def product_of_floats(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """DynamicQuantizeMatMul: A, B, its scale, its zero point, bias."""
    import onnx

    if facts.opset < _DYNAMIC:
        return None
    a, b, scale, zero, bias = _operands(node, 5)
    w = NodeWriter(facts=facts, node=node)
    names = [facts.free(f"{w.stem}.{part}") for part in ("codes", "scale", "zero_point")]
    w.nodes.append(onnx.helper.make_node("DynamicQuantizeLinear", [a], names, name=names[0]))
    _multiply(w, (names[0], b), (names[1], scale), (names[2], zero), bias)
    return w.nodes


def product_of_codes(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """MatMulIntegerToFloat: A, B, their scales, their zero points, bias."""
    if facts.opset < _DYNAMIC:
        return None
    a, b, a_scale, b_scale, a_zero, b_zero, bias = _operands(node, 7)
    w = NodeWriter(facts=facts, node=node)
    _multiply(w, (a, b), (a_scale, b_scale), (a_zero, b_zero), bias)
    return w.nodes


def _multiply(
    w: NodeWriter, codes: tuple[str, str], scales: tuple[str, str], zeros: tuple[str, str],
    bias: str,
) -> None:  # fmt: skip
    """Append the product, in floats, as the node's result."""
    operands = [*codes, *zeros]
    while not operands[-1]:
        operands.pop()
    sums = w.cast(w.op("MatMulInteger", *operands), "float32")
    factor, result = w.op("Mul", *scales), w.node.output[0]
    if bias:
        w.op("Add", w.op("Mul", sums, factor), bias, result=result)
    else:
        w.op("Mul", sums, factor, result=result)


def _operands(node: "onnx.NodeProto", count: int) -> list[str]:
    """The names of as many operands, "" for those that are not there."""
    return [*node.input, *[""] * count][:count]

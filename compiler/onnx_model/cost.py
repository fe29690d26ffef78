"""What an ONNX model costs: parameters, multiply-accumulates of one sample, weight bytes."""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import four_bits, operators, weight_blocks
from edgekiln.compiler.onnx_model.ends.functions import TOKENIZERS
from edgekiln.compiler.onnx_model.io import DEQUANTIZE, QUANTIZE
from edgekiln.compiler.onnx_model.recurrent import RECURRENT
from edgekiln.compiler.onnx_model.recurrent_functions import CODED, DATA, DOMAIN

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

# From which operand on an operator has scales and zero points, or a tokenizer's tables.
_PLUMBING_FROM = {
    QUANTIZE: 1,
    DEQUANTIZE: 1,
    "ConvInteger": 2,
    "MatMulInteger": 2,
    **dict.fromkeys(TOKENIZERS, 1),
}


@dataclass(frozen=True, kw_only=True)
class OnnxCosts:
    """What one inference with batch 1 costs."""

    parameters: int  # weights and biases, without scales, zero points and shapes
    macs: int  # of convolutions, Gemm, MatMul and recurrent layers
    weight_bytes: int  # of the parameters as stored


def onnx_costs(model: "onnx.ModelProto") -> OnnxCosts:
    """Count. Nodes whose shape cannot be inferred count 0 multiply-accumulates."""
    graph, shapes, batch = _of_one_sample(model)
    macs = sum(_macs(node, shapes) for node in graph.node) // batch
    count, size = _parameters(graph)
    return OnnxCosts(parameters=count, macs=macs, weight_bytes=size)


def macs_by_node(model: "onnx.ModelProto") -> dict[str, int]:
    """The multiply-accumulates of each node, by its name, which is nobody else's."""
    graph, shapes, batch = _of_one_sample(model)
    return {node.name: _macs(node, shapes) // batch for node in graph.node}


def _of_one_sample(
    model: "onnx.ModelProto",
) -> "tuple[onnx.GraphProto, dict[str, tuple[int, ...]], int]":
    """The graph with batch 1, the shapes of its tensors, and the samples of a call: more than one
    where the file fixes its batch.
    """
    import onnx

    from edgekiln.compiler.onnx_model import extents, model_inputs, shape_inference

    single = onnx.ModelProto()
    single.CopyFrom(model)
    model_inputs.with_batch(single, 1)
    graph = shape_inference.inferred(single).graph
    shapes = {weight.name: tuple(weight.dims) for weight in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shape = extents.extents(value)
        shapes[value.name] = tuple(e if isinstance(e, int) else 0 for e in shape)
    return graph, shapes, model_inputs.of_model(single).batch or 1


def _macs(node: "onnx.NodeProto", shapes: dict[str, tuple[int, ...]]) -> int:
    """Output elements times the length of each one's dot product."""
    operands = [shapes.get(name, ()) for name in node.input[:2]]
    out = next((shapes.get(name, ()) for name in node.output if name), ())
    if node.domain == DOMAIN or len(operands) < 2 or not (all(operands) and out):
        return _macs_of_steps(node, shapes) if node.domain == DOMAIN else 0
    data, weight = operands
    if node.op_type in ("Conv", "ConvInteger"):  # weight: (OC, IC / groups, *kernel)
        return prod(out) * prod(weight[1:])
    if node.op_type == "ConvTranspose":  # weight: (IC, OC / groups, *kernel), one use per input
        return prod(data) * prod(weight[1:])
    if node.op_type in ("MatMul", "MatMulInteger"):
        return prod(out) * data[-1]
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return prod(out) * data[0 if transposed else 1]
    return _macs_of_layer(node, shapes)


def _macs_of_layer(node: "onnx.NodeProto", shapes: dict[str, tuple[int, ...]]) -> int:
    """Count what a recurrent layer multiplies: in every step its data and its state."""
    if node.op_type not in RECURRENT:
        return 0
    data, weight, state = (shapes.get(name, ()) for name in node.input[:3])
    return prod(data[:2]) * (prod(weight) + prod(state)) if state else 0


def _macs_of_steps(node: "onnx.NodeProto", shapes: dict[str, tuple[int, ...]]) -> int:
    """The product of each step, and of a layer of codes that of its data."""
    given = operators.attributes(node)
    depth = int(given["parted"][-1])
    if node.op_type in CODED.values():
        depth += shapes[node.input[DATA.index("inputs")]][0]
    return prod(given["shape"]) * depth


def _parameters(graph: "onnx.GraphProto") -> tuple[int, int]:
    import onnx

    plumbing = {
        name
        for node in graph.node
        for name in node.input[_PLUMBING_FROM.get(node.op_type, len(node.input)) :]
    }
    # No int64: those are shapes and axes. Numbers without axes are bounds and factors.
    numeric = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
    numeric |= {onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT32}
    halves = {onnx.TensorProto.INT4, onnx.TensorProto.UINT4}  # of a byte
    count = size = 0
    for weight in graph.initializer:
        if weight.name in plumbing or not weight.dims or weight.data_type not in numeric | halves:
            continue
        elements = prod(weight.dims)
        count += elements
        if weight.data_type in halves:
            size += (elements + 1) // 2
            continue
        if weight.data_type == onnx.TensorProto.INT8:
            size += _stored_bytes(onnx.numpy_helper.to_array(weight))
            continue
        size += elements * onnx.helper.tensor_dtype_to_np_dtype(weight.data_type).itemsize
    return count, size


def _stored_bytes(codes: "NDArray[np.generic]") -> int:
    """Bytes of int8 codes as programs store them: half of one each where four bits hold them."""
    if four_bits.hold(codes):
        return codes.size // 2
    if codes.ndim > 1 and codes.size == prod(codes.shape[:2]):
        matrix = codes.reshape(codes.shape[:2])
        # Outputs are rows of a convolution's weights, and columns of a product's.
        for rows in (matrix, matrix.T):
            if size := weight_blocks.size_of_blocks(rows):
                return codes.size // 2 + codes.size // size
    return codes.size

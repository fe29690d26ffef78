"""Linear layers on sequences: MatMul and Add become one Gemm, whose bias can be int32."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekiln.compiler.onnx_model import io, rewrites

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class _Linear:
    """y = x · weight + bias, with x (batch, …, in), weight (in, out) and bias (out,)."""

    matmul: "onnx.NodeProto"
    add: "onnx.NodeProto"
    weight: "NDArray[Any]"
    bias: str
    inner: tuple[int, ...]  # the extents between batch and features


def gemm_from_matmul(model: "onnx.ModelProto") -> int:
    """Rewrite MatMul + Add to Reshape → Gemm → Reshape: x·W + b over tensors of rank 3 and more.

    Quantized apart, the product is rounded to 8 bits before the bias is added, and the bias too.
    Left alone: products of two activations, biases that are no constant vector, products that
    somebody else reads too, and extents other than the batch that are not fixed.

    Returns:
        How many were rewritten.
    """
    layers = {layer.add.output[0]: layer for layer in _linears(model)}
    absorbed = {layer.matmul.output[0] for layer in layers.values()}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.output[0] in layers:
            made, tensors = _gemm(layers[node.output[0]])
            nodes += made
            model.graph.initializer.extend(tensors)
        elif node.output[0] not in absorbed:
            nodes.append(node)
    rewrites.replace_nodes(model, nodes)
    return len(layers)


def _linears(model: "onnx.ModelProto") -> list[_Linear]:
    import onnx

    shapes = rewrites.shapes(model)
    constants = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    outputs = {value.name for value in model.graph.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for matmul in model.graph.node:
        if matmul.op_type != "MatMul" or matmul.output[0] in outputs:
            continue
        data, weight = (constants.get(name) for name in matmul.input)
        behind = readers.get(matmul.output[0], [])
        if data is not None or weight is None or weight.ndim != 2 or len(behind) != 1:
            continue
        inner = _inner(shapes.get(matmul.input[0], ()))
        bias = _other(behind[0], matmul.output[0])
        vector = bias in constants and constants[bias].shape == weight.shape[1:]
        if inner and vector and behind[0].op_type == "Add":
            add = behind[0]
            found.append(_Linear(matmul=matmul, add=add, weight=weight, bias=bias, inner=inner))
    return found


def _inner(shape: tuple[io.Extent, ...]) -> tuple[int, ...]:
    """The extents between batch and features; empty when there are none or one is open."""
    fixed = tuple(extent for extent in shape[1:-1] if isinstance(extent, int))
    return fixed if len(fixed) == len(shape) - 2 else ()


def _other(node: "onnx.NodeProto", operand: str) -> str:
    """The input of a two-operand node that is not `operand`; "" when both are."""
    return next((str(name) for name in node.input if name != operand), "")


def _gemm(layer: _Linear) -> "tuple[list[onnx.NodeProto], list[onnx.TensorProto]]":
    import onnx

    make = onnx.helper.make_node
    data, result = layer.matmul.input[0], layer.add.output[0]
    rows, product = f"{result}.rows", f"{result}.product"
    weight, to_rows, back = f"{result}.weight", f"{result}.to_rows", f"{result}.back"
    features, outputs = layer.weight.shape
    tensors = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(layer.weight.T), weight),
        onnx.numpy_helper.from_array(np.array([-1, features]), to_rows),
        onnx.numpy_helper.from_array(np.array([-1, *layer.inner, outputs]), back),
    ]
    nodes = [
        make("Reshape", [data, to_rows], [rows], name=rows),
        make("Gemm", [rows, weight, layer.bias], [product], name=layer.matmul.name, transB=1),
        make("Reshape", [product, back], [result], name=back),
    ]
    return nodes, tensors

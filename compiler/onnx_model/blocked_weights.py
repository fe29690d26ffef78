"""Weights that have a scale for each block of them, as the real numbers for which they stand.

ONNX has them since operator set 21, as a DequantizeLinear with `block_size`; ONNX Runtime's are
the operand of its own product (`com.microsoft`). Programs find the blocks in the numbers again, and
keep them in four bits: `weight_blocks`.
"""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.four_bits import unpacked
from edgekiln.compiler.onnx_model.node_writer import NodeWriter

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts

    Nodes = list[onnx.NodeProto] | None

_PRODUCT = "MatMulNBits"


def are_all_codes(model: "onnx.ModelProto") -> bool:
    """Whether a model has such weights, and no other codes: all that it computes is of floats."""
    of_codes = [
        node
        for node in model.graph.node
        if (row := operators.of(node)) is not None and row.role == "integer"
    ]
    return bool(of_codes) and all(
        node.op_type == _PRODUCT or operators.attributes(node).get("block_size")
        for node in of_codes
    )


def multiplied_in_floats(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The model without any `accuracy_level`: ONNX Runtime's product of such weights rounds
    activations to codes first where that allows it. The same object if there is none.
    """
    import onnx

    levels = "accuracy_level"
    if not any(operators.attributes(node).get(levels) for node in _products(model)):
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for node in _products(made):
        kept = [each for each in node.attribute if each.name != levels]
        del node.attribute[:]
        node.attribute.extend(kept)
    return made


def _products(model: "onnx.ModelProto") -> "list[onnx.NodeProto]":
    return [node for node in model.graph.node if node.op_type == _PRODUCT]


def dequantized(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """DequantizeLinear of a constant in blocks: the numbers themselves."""
    given = operators.attributes(node)
    size, codes, scale = given.get("block_size"), facts.constant(node, 0), facts.constant(node, 1)
    if not size or codes is None or scale is None or codes.ndim != scale.ndim or not scale.ndim:
        return None
    zero = facts.constant(node, 2) if len(node.input) > 2 and node.input[2] else None
    if zero is None and len(node.input) > 2 and node.input[2]:
        return None
    axis = int(given.get("axis", 1)) % codes.ndim

    def whole(blocks: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """One number for each code; the last block may be cut off."""
        repeated = np.repeat(blocks, int(size), axis=axis)
        return np.take(repeated, np.arange(codes.shape[axis]), axis=axis)

    steps = codes.astype(np.float32)
    if zero is not None:
        steps -= whole(zero.astype(np.float32))
    w = NodeWriter(facts=facts, node=node)
    real = facts.add(f"{w.stem}.real", steps * whole(scale.astype(np.float32)))
    w.op("Identity", real, result=node.output[0])
    return w.nodes


def product(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """MatMulNBits: A, codes (N, blocks, bytes), scales, zero points, order of the rows, bias."""
    given = operators.attributes(node)
    n, k, bits, size = (int(given.get(name, 0)) for name in ("N", "K", "bits", "block_size"))
    bits = bits or 4
    a, _, _, zero_name, order, bias = [*node.input, *[""] * 6][:6]
    packed, scale = facts.constant(node, 1), facts.constant(node, 2)
    zero = facts.constant(node, 3) if zero_name else None
    if packed is None or scale is None or (zero_name and zero is None):
        return None
    if order or bits not in (2, 4, 8) or size < 1:
        return None
    blocks = -(-k // size)
    codes = unpacked(packed.reshape(n, blocks, -1), bits)[:, :, :size].astype(np.int32)
    steps = codes.astype(np.float32) - _zero_points(zero, bits, (n, blocks))[:, :, None]
    real = steps * scale.astype(np.float32).reshape(n, blocks, 1)
    w = NodeWriter(facts=facts, node=node)
    weights = facts.add(f"{w.stem}.real", real.reshape(n, -1)[:, :k].T.copy())
    if bias:
        w.op("Add", w.op("MatMul", a, weights), bias, result=node.output[0])
    else:
        w.op("MatMul", a, weights, result=node.output[0])
    return w.nodes


def _zero_points(
    zero: "NDArray[np.generic] | None", bits: int, shape: tuple[int, int]
) -> "NDArray[np.float32]":
    """One a block: (N, blocks). Of bytes they are packed as codes are, each row by itself."""
    if zero is None:
        return np.full(shape, 1 << (bits - 1), np.float32)
    if zero.dtype == np.uint8:
        return unpacked(zero.reshape(shape[0], -1), bits)[:, : shape[1]].astype(np.float32)
    return zero.astype(np.float32).reshape(shape)

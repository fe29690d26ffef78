"""Embeddings in fewer bits than the rest: tables of int4, each row with a scale of its own.

What reads a table takes one row of it, so a scale a row costs nothing but its four bytes, and what
four bits lose of a value does not add up as it does in a product.
"""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.four_bits import NARROW_BITS
from edgekiln.compiler.onnx_model.io import DEQUANTIZE
from edgekiln.compiler.onnx_model.raising import raised
from edgekiln.compiler.onnx_model.rewriting import drop_unused_weights
from edgekiln.compiler.quantization.products import most_code
from edgekiln.compiler.quantization.weight_scales import mse_scales

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

_INT4_OPSET = 21  # the first whose DequantizeLinear takes them


def with_narrow_tables(real: "onnx.ModelProto", quantized: "onnx.ModelProto") -> "onnx.ModelProto":
    """The int8 model with its embeddings in int4; as it is where it has none.

    Args:
        real: the float model that `quantized` was made of.
    """
    import onnx

    if not any(_tables(quantized)):
        return quantized
    (opset,) = {o.version for o in quantized.opset_import if o.domain in ("", "ai.onnx")}
    made = raised(quantized, opset, _INT4_OPSET) if opset < _INT4_OPSET else quantized
    floats = {weight.name: weight for weight in real.graph.initializer}
    source = {node.name: node.input[0] for node in real.graph.node}
    largest = most_code(NARROW_BITS)
    for node, gather in list(_tables(made)):
        rows = onnx.numpy_helper.to_array(floats[source[gather.name]]).astype(np.float64)
        scale = mse_scales(rows, largest)
        codes = np.clip(np.rint(rows / scale[:, None].astype(np.float64)), -largest, largest)
        names = [f"{node.output[0]}_{part}" for part in ("rows", "row_scales")]
        made.graph.initializer.extend([
            onnx.helper.make_tensor(
                names[0], onnx.TensorProto.INT4, rows.shape, codes.astype(np.int8).ravel()
            ),
            onnx.numpy_helper.from_array(scale, names[1]),
        ])  # fmt: skip
        del node.input[:], node.attribute[:]
        node.input.extend(names)
        node.attribute.append(onnx.helper.make_attribute("axis", 0))
    drop_unused_weights(made)
    onnx.checker.check_model(made, full_check=True)
    return made


def has_narrow_tables(model: "onnx.ModelProto") -> bool:
    """Whether a model has any such table."""
    import onnx

    return any(each.data_type == onnx.TensorProto.INT4 for each in model.graph.initializer)


def _tables(model: "onnx.ModelProto") -> "Iterator[tuple[onnx.NodeProto, onnx.NodeProto]]":
    """Each DequantizeLinear of a matrix of constants whose readers all take rows of it, and the
    first of these.
    """
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    read: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            read.setdefault(name, []).append(node)
    for node in model.graph.node:
        if node.op_type != DEQUANTIZE or len(shapes.get(node.input[0], ())) != 2:
            continue
        readers = read.get(node.output[0], [])
        if readers and all(_takes_rows(reader, node.output[0]) for reader in readers):
            yield node, readers[0]


def _takes_rows(node: "onnx.NodeProto", table: str) -> bool:
    if node.op_type != "Gather" or node.input[0] != table:
        return False
    return operators.attributes(node).get("axis", 0) in (0, -2)

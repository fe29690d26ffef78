"""QuantizeLinear and DequantizeLinear in their one form: ONNX's, whose zero point says the type.

ONNX Runtime had both for codes of 16 bits (`com.microsoft`) before ONNX did, in operator set 21.
"""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model.dynamic_forms import MICROSOFT
from edgekiln.compiler.onnx_model.names import unique
from edgekiln.compiler.onnx_model.nested import graphs_of, tensors_of
from edgekiln.compiler.onnx_model.raising import raised

if TYPE_CHECKING:
    import onnx

_KINDS = ("QuantizeLinear", "DequantizeLinear")
_AXES_OPSET = 13  # the first whose operators have an axis
_WORDS_OPSET = 21  # the first whose operators take codes of 16 bits
_TYPE = "output_dtype"


def in_one_form(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The model, valid before, with ONNX's operators in the place of ONNX Runtime's, of an operator
    set that has them; and with zero points where an attribute said the type of codes.

    Raises:
        UnsupportedError: ONNX knows no way to that operator set.
    """
    import onnx

    _write_zero_points(model)
    theirs = [
        node
        for graph in graphs_of(model)
        for node in graph.node
        if node.domain == MICROSOFT and node.op_type in _KINDS
    ]
    if not theirs:
        return model
    for node in theirs:
        node.domain = ""
    if not any(node.domain == MICROSOFT for graph in graphs_of(model) for node in graph.node):
        kept = [each for each in model.opset_import if each.domain != MICROSOFT]
        del model.opset_import[:]
        model.opset_import.extend(kept)
    words = {onnx.TensorProto.INT16, onnx.TensorProto.UINT16}
    types = {tensor.data_type for tensor in tensors_of(model)}
    types |= {value.type.tensor_type.elem_type for value in model.graph.input}
    least = _WORDS_OPSET if types & words else _AXES_OPSET
    opset = max(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    return raised(model, opset, least) if opset < least else model


def _write_zero_points(model: "onnx.ModelProto") -> None:
    """Replace the attributes that say a type by zero points of that type, in place."""
    import onnx

    for graph in graphs_of(model):
        weights = {weight.name: weight for weight in graph.initializer}
        taken = {name for node in graph.node for name in (*node.input, *node.output)} | {*weights}
        for node in graph.node:
            said = [each for each in node.attribute if each.name == _TYPE and each.i]
            if node.op_type != _KINDS[0] or not said or node.input[1] not in weights:
                continue
            if len(node.input) < 3 or not node.input[2]:
                dtype = onnx.helper.tensor_dtype_to_np_dtype(said[0].i)
                zeros = np.zeros(tuple(weights[node.input[1]].dims), dtype)
                zero = unique(f"{node.output[0]}_zero_point", taken)
                graph.initializer.append(onnx.numpy_helper.from_array(zeros, zero))
                del node.input[2:]
                node.input.append(zero)
            kept = [each for each in node.attribute if each.name != _TYPE]
            del node.attribute[:]
            node.attribute.extend(kept)

"""Models of float16 or bfloat16: their numbers become float32, in which programs compute."""

from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model.nested import graphs_of, tensors_of

if TYPE_CHECKING:
    import onnx

NOTE = "its half floats (float16 or bfloat16) are computed in float32"

# Attributes that say a type by its number.
_TYPES = ("to", "dtype")


def to_float32(model: "onnx.ModelProto") -> bool:
    """Make, in place, float32 of every half float: constants, inputs, outputs, results of casts.

    Values that were rounded to half floats stay what they were rounded to; sums and products are
    not rounded to them any more.

    Returns:
        Whether there was any.
    """
    import numpy as np
    import onnx

    halves = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    found = False
    for tensor in tensors_of(model):
        if tensor.data_type in halves:
            wide = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(wide, tensor.name))
            found = True
    for graph in graphs_of(model):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type in halves:
                value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
                found = True
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.name in _TYPES and attribute.i in halves:
                    attribute.i = onnx.TensorProto.FLOAT
                    found = True
    return found

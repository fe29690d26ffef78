"""Extents that Resize makes by factors, such as 26 = 20·1.3.

The float32 beside 1.3 is a little smaller, and ONNX's shape inference, which multiplies in float64
and rounds down, finds 25. ONNX Runtime's product is a float32 and PyTorch's factor a float64: both
make 26.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx


def raised(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The model for shape inference: each constant factor that is no whole number is the next
    larger float32. The model itself, where there is none.
    """
    import onnx

    if not any(_factors(model)):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for weight in _factors(copy):
        larger = np.nextafter(onnx.numpy_helper.to_array(weight), np.float32(np.inf))
        weight.CopyFrom(onnx.numpy_helper.from_array(larger, weight.name))
    return copy


def restore(inferred: "onnx.ModelProto", model: "onnx.ModelProto") -> None:
    """Give the model that came out of shape inference its own factors back, in place."""
    own = {weight.name: weight for weight in _factors(model)}
    if own:
        for weight in inferred.graph.initializer:
            if weight.name in own:
                weight.CopyFrom(own[weight.name])


def _factors(model: "onnx.ModelProto") -> "Iterator[onnx.TensorProto]":
    """Constant operands of a Resize or Upsample that are no whole numbers of float32."""
    import onnx

    names = {
        name
        for node in model.graph.node
        if node.op_type in ("Resize", "Upsample")
        for name in node.input[1:3]
    }
    for weight in model.graph.initializer if names else ():
        if weight.name in names and weight.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(weight)
            if np.isfinite(values).all() and (values != np.rint(values)).any():
                yield weight

"""The sizes that an ONNX model declares."""

from typing import TYPE_CHECKING

from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

_OPEN_VALUE, _OPEN_NAME = -1, "?"  # as PaddlePaddle's exporter writes what is open
MOST = (1 << 63) - 1  # of an extent in a file
# A symbolic extent is its name ("batch"), an unknown one "?".
Extent = int | str


def model_inputs(model: "onnx.ModelProto") -> "list[onnx.ValueInfoProto]":
    """The inputs that are no weights. Raises UnsupportedError when there is none."""
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if not inputs:
        raise UnsupportedError(
            "the model has no input", hint="what takes nothing always gives the same"
        )
    return inputs


def extents(value: "onnx.ValueInfoProto") -> tuple[Extent, ...]:
    """The shape of an input or output, batch first."""
    dims = value.type.tensor_type.shape.dim
    return tuple(
        d.dim_value if d.HasField("dim_value") else d.dim_param or _OPEN_NAME for d in dims
    )


def leave_open(model: "onnx.ModelProto") -> None:
    """Write extents that some exporters give a number below 0, or one name for all, as ONNX writes
    what is not known.
    """
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value == _OPEN_VALUE or dim.dim_param == _OPEN_NAME:
                # The two are one field, of which one is set.
                dim.ClearField("dim_value")
                dim.ClearField("dim_param")

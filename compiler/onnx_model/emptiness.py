"""Tensors without elements: a program has no place for one, and nothing to compute of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx


def check(graph: "onnx.GraphProto", where: str) -> None:
    """Raise UnsupportedError, with `where` in front, where data has no elements.

    Args:
        graph: with the shapes that were inferred.
    """
    for value in graph.input:
        if _is_empty(value):
            raise UnsupportedError(
                f"{where}: input {value.name!r} has no elements",
                hint="export the model with sizes above 0; an open batch is an axis with a name",
            )
    data = _of_data(graph)
    results = (*graph.value_info, *graph.output)
    empty = [value.name for value in results if value.name in data and _is_empty(value)]
    for name in (*empty, *_empty_numbers(graph)):
        raise UnsupportedError(
            f"{where}: tensor {name!r} has no elements",
            hint="take the part out of the model that computes nothing",
        )


def _is_empty(value: "onnx.ValueInfoProto") -> bool:
    dims = value.type.tensor_type.shape.dim
    return any(dim.HasField("dim_value") and not dim.dim_value for dim in dims)


def _of_data(graph: "onnx.GraphProto") -> set[str]:
    """Tensors that depend on what the model is given, but for the shapes of such tensors."""
    found = {value.name for value in graph.input} - {weight.name for weight in graph.initializer}
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and not found.isdisjoint(node.input):
            found.update(node.output)
    return found


def _empty_numbers(graph: "onnx.GraphProto") -> Iterator[str]:
    """Constants without elements that stand among data. Empty integers are lists of axes, and an
    empty operand of Resize is one that is left out.
    """
    import onnx

    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    empty = {w.name for w in graph.initializer if w.data_type in floats and 0 in w.dims}
    for node in graph.node:
        if node.op_type not in ("Resize", "Upsample"):
            yield from (name for name in node.input if name in empty)

"""How large the tensors of a model may be."""

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekiln.runtime.errors import InputError, UnsupportedError
from edgekiln.runtime.typed import whole_number

if TYPE_CHECKING:
    import onnx

LIMIT = "EDGEKILN_MAX_ELEMENTS"
_MAX_ELEMENTS = 2**28  # of one tensor: 1 GiB of float32
# Attributes that are extents of a window or of what lies around it, or name axes: what does not fit
# 32 bits, ONNX itself takes for another number.
_EXTENTS = frozenset(
    "axes axis blocksize dilations kernel_shape output_padding output_shape pads pooled_shape size "
    "split strides".split()
)


def max_elements() -> int:
    """The most elements that a tensor of a model may have."""
    if not (text := os.environ.get(LIMIT, "")):
        return _MAX_ELEMENTS
    if (most := whole_number(text, 1 << 62)) is None:
        raise InputError(f"{LIMIT} = {text!r} is not a number of elements")
    return most


def check_sizes(graph: "onnx.GraphProto", where: str) -> None:
    """Hold what a graph says of its tensors to the limit. Raises UnsupportedError, InputError."""
    for weight in graph.initializer:
        check_size(weight.dims, weight.name, where)
    for value in (*graph.input, *graph.output, *graph.value_info):
        dims = value.type.tensor_type.shape.dim
        check_size([d.dim_value for d in dims if d.HasField("dim_value")], value.name, where)
    limit = max_elements()
    for node in graph.node:
        for attribute in node.attribute:
            numbers = [*attribute.ints, attribute.i] if attribute.name in _EXTENTS else []
            if any(abs(number) > limit for number in numbers):
                raise UnsupportedError(
                    f"{where}: {attribute.name} of {node.op_type} ({_made(node)!r}) is larger "
                    f"than {limit}",
                    hint=f"the limit is {LIMIT}, which can be set higher",
                )


def check_size(dims: Sequence[int], name: str, where: str) -> None:
    """Hold one tensor to the limit. Raises as `check_sizes`."""
    limit = max_elements()
    if any(extent < 0 for extent in dims):
        raise InputError(f"{where}: tensor {name!r} has an extent below 0", hint="export it again")
    if max(dims, default=0) > limit or math.prod(dims) > limit:
        shape = " × ".join(str(extent) for extent in dims)
        raise UnsupportedError(
            f"{where}: tensor {name!r} has {shape} elements, more than {limit}",
            hint=f"the limit is {LIMIT}, which can be set higher",
        )


def _made(node: "onnx.NodeProto") -> str:
    return next((name for name in node.output if name), node.name)

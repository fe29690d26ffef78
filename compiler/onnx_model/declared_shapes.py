"""What a file says of its tensors' shapes and types, against what follows from its operators."""

import math
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import emptiness, operands, shape_inference, windows
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.onnx_model.sizes import LIMIT, check_size, max_elements
from edgekiln.runtime.errors import InputError, UnsupportedError, first_line

if TYPE_CHECKING:
    import onnx

_SHAPE_ARITHMETIC = 1024  # elements of a constant whose values may say what shapes there are


def skeleton(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The model without its large weights, which are inputs of their shape instead."""
    import onnx

    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    bare.graph.name = model.graph.name
    bare.functions.extend(model.functions)
    bare.graph.node.extend(model.graph.node)
    bare.graph.input.extend(model.graph.input)
    bare.graph.output.extend(model.graph.output)
    bare.graph.value_info.extend(model.graph.value_info)
    for weight in model.graph.initializer:
        if math.prod(weight.dims) <= _SHAPE_ARITHMETIC:
            bare.graph.initializer.append(weight)
        else:
            bare.graph.input.append(
                onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
            )
    return bare


def settle(model: "onnx.ModelProto", declared: "onnx.ModelProto", where: str) -> None:
    """Infer every shape, hold what comes out to the limits, and correct in place what the model
    says of its results: exporters of old wrote the shapes of another batch there.

    Args:
        declared: the `skeleton` of the model as it came, before anything in it was rewritten.

    Raises:
        InputError: its operands contradict each other, or its declared shapes do so in a way with
            which ONNX Runtime cannot load it either.
        UnsupportedError: a tensor beyond the limit.
    """
    inferred = _inferred(model, where)
    while windows.settle_first(model, inferred.graph):
        inferred = _inferred(model, where)
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim if d.HasField("dim_value")]
        check_size(dims, value.name, where)
    for check in (emptiness.check, operands.check):
        check(inferred.graph, where)
    if wrong := _correct(model.graph, inferred.graph):
        try:
            Session(declared, optimize=False)
        except UnsupportedError as error:
            raise InputError(
                f"{where}: what is declared of {wrong!r} contradicts its operators, and "
                f"{error.message}",
                hint="export it again, or leave what it says of results out of it",
            ) from error


def _inferred(model: "onnx.ModelProto", where: str) -> "onnx.ModelProto":
    """The model's shapes, without what it says about results itself."""
    import onnx

    bare = skeleton(model)
    del bare.graph.value_info[:]
    for value in bare.graph.output:
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, None))
    try:
        return shape_inference.inferred(
            bare, strict=True, check_type=True, most_elements=max_elements()
        )
    except UnsupportedError as error:
        hint = f"the limit is {LIMIT}, which can be set higher"
        raise UnsupportedError(f"{where}: {error.message}", hint=hint) from error
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise InputError(f"{where}: shapes or types do not fit: {first_line(error)}") from error


def _correct(graph: "onnx.GraphProto", inferred: "onnx.GraphProto") -> str:
    """Replace what is declared of outputs, and drop it of other results, where it is wrong.
    Returns the name of the first one; "" if there is none.
    """
    known = {value.name: value for value in (*inferred.value_info, *inferred.output)}
    wrong = [
        value.name
        for value in (*graph.value_info, *graph.output)
        if value.name in known and _contradict(value, known[value.name])
    ]
    for value in graph.output:
        if value.name in wrong:
            value.type.CopyFrom(known[value.name].type)
    right = [value for value in graph.value_info if value.name not in wrong]
    if len(right) < len(graph.value_info):
        del graph.value_info[:]
        graph.value_info.extend(right)
    return next(iter(wrong), "")


def _contradict(declared: "onnx.ValueInfoProto", found: "onnx.ValueInfoProto") -> bool:
    own, kind = declared.type.tensor_type.elem_type, found.type.tensor_type.elem_type
    # A tensor without a type says nothing, which no loader takes; what has no word may be missing.
    if kind and own != kind and (own or declared.type.HasField("tensor_type")):
        return True
    if not (
        declared.type.tensor_type.HasField("shape") and found.type.tensor_type.HasField("shape")
    ):
        return False
    ours, theirs = declared.type.tensor_type.shape.dim, found.type.tensor_type.shape.dim
    return len(ours) != len(theirs) or any(
        a.HasField("dim_value") and b.HasField("dim_value") and a.dim_value != b.dim_value
        for a, b in zip(ours, theirs, strict=True)
    )

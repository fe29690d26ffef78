"""What a foreign ONNX model must be before anything else reads it: whole, finite, bounded, typed.

Checked once, when a file is loaded; whoever gets the model afterwards may trust it.
"""

import math
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.onnx_model import (
    definitions,
    emptiness,
    operands,
    operators,
    shape_inference,
    windows,
)
from edgekiln.compiler.onnx_model.own_functions import add_functions, functions
from edgekiln.runtime.errors import InputError, UnsupportedError
from edgekiln.runtime.typed import whole_number

if TYPE_CHECKING:
    import onnx

LIMIT = "EDGEKILN_MAX_ELEMENTS"
_MAX_ELEMENTS = 2**28  # of one tensor: 1 GiB of float32
_SHAPE_ARITHMETIC = 1024  # elements of a constant whose values may say what shapes there are
_WEIGHTS_ARE_NO_INPUTS = 4  # version of ONNX's file format since when they need not be listed
# Attributes that are extents of a window or of what lies around it, or name axes: what does not fit
# 32 bits, ONNX itself takes for another number.
_EXTENTS = frozenset(
    "axes axis blocksize dilations kernel_shape output_padding output_shape pads pooled_shape size "
    "split strides".split()
)


def validated(model: "onnx.ModelProto", where: str) -> "onnx.ModelProto":
    """The model in the form of today, if it is what it declares and what ONNX's specification says.

    Weights are no inputs, functions of its own are inlined, and so are operators that only ONNX's
    definition of them can stand for; unused operator sets are gone.

    Args:
        where: the file, with which each message begins.

    Raises:
        InputError: a damaged or contradictory model.
        UnsupportedError: a model too large, or of parts that no program can hold.
    """
    import onnx
    from onnx import inliner

    _check_text(model, where)
    kept = [(function.domain, function.name) for function in functions()]
    if not model.graph.node:
        raise InputError(f"{where}: an ONNX file without any operation", hint="export it again")
    if not model.graph.output:
        raise InputError(f"{where}: an ONNX file without any output", hint="export it again")
    if model.graph.sparse_initializer:
        raise UnsupportedError(
            f"{where}: its weights are stored sparse", hint="export the model with dense weights"
        )
    # Sizes before weights: arrays are made of those. Both before ONNX's checker, which reads the
    # weights itself, and has no word for what they hold.
    _normalize(model, where)
    check_sizes(model.graph, where)
    _check_weights(model, where)
    try:
        onnx.checker.check_model(model)
        if model.functions:
            # What stood in functions stands in the graph after this, and is held to the same
            # limits.
            model = inliner.inline_selected_functions(model, kept, exclude=True)
            add_functions(model)
            check_sizes(model.graph, where)
    except (onnx.checker.ValidationError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{where}: not a valid ONNX model: {_first_line(error)}") from error
    _check_inputs(model.graph, where)
    model = definitions.expanded(model)
    _check_shapes(model, where)
    return model


def max_elements() -> int:
    """The most elements that a tensor of a model may have."""
    if not (text := os.environ.get(LIMIT, "")):
        return _MAX_ELEMENTS
    if (most := whole_number(text, 1 << 62)) is None:
        raise InputError(f"{LIMIT} = {text!r} is not a number of elements")
    return most


def _check_text(model: "onnx.ModelProto", where: str) -> None:
    """protobuf hands out what is no UTF-8 as bytes, where everybody expects text."""
    import onnx
    from google.protobuf.descriptor import FieldDescriptor

    stack: list[Any] = [model]  # protobuf messages of any class
    while stack:
        message = stack.pop()
        if isinstance(message, onnx.TensorProto):
            values = [message.name]
        else:
            values = []
            for field, value in message.ListFields():
                if field.type == FieldDescriptor.TYPE_MESSAGE:
                    stack += value if field.is_repeated else [value]
                elif field.type == FieldDescriptor.TYPE_STRING:
                    values += value if field.is_repeated else [value]
        if any(isinstance(value, bytes) for value in values):
            raise InputError(
                f"{where}: not an ONNX file, or cut short", hint="download or export it again"
            )


def _normalize(model: "onnx.ModelProto", where: str) -> None:
    import onnx

    weights = {weight.name for weight in model.graph.initializer}
    data = [value for value in model.graph.input if value.name not in weights]
    if len(data) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(data)
        model.ir_version = max(model.ir_version, _WEIGHTS_ARE_NO_INPUTS)
    used = {node.domain for node in model.graph.node} | {""}
    # Graphs inside of nodes may use others; then none is left out.
    used |= {node.domain for function in model.functions for node in function.node}
    versions: dict[str, int] = {}
    opsets: list[onnx.OperatorSetIdProto] = []
    for opset in model.opset_import:
        domain = "" if opset.domain == "ai.onnx" else opset.domain
        if versions.setdefault(domain, opset.version) != opset.version:
            raise InputError(
                f"{where}: names two versions of the operator set {domain or 'ai.onnx'!r}, "
                f"{versions[domain]} and {opset.version}",
                hint="export it again",
            )
        if domain in used and domain not in {known.domain for known in opsets}:
            opsets.append(onnx.helper.make_opsetid(domain, opset.version))
    if len(opsets) < len(model.opset_import) and not _nested(model.graph):
        del model.opset_import[:]
        model.opset_import.extend(opsets)


def _nested(graph: "onnx.GraphProto") -> bool:
    return any(a.HasField("g") or a.graphs for node in graph.node for a in node.attribute)


def check_sizes(graph: "onnx.GraphProto", where: str) -> None:
    """Hold what a graph says of its tensors to the limit. Raises UnsupportedError, InputError."""
    for weight in graph.initializer:
        _check_size(weight.dims, weight.name, where)
    for value in (*graph.input, *graph.output, *graph.value_info):
        dims = value.type.tensor_type.shape.dim
        _check_size([d.dim_value for d in dims if d.HasField("dim_value")], value.name, where)
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


def _check_size(dims: Sequence[int], name: str, where: str) -> None:
    limit = max_elements()
    if any(extent < 0 for extent in dims):
        raise InputError(f"{where}: tensor {name!r} has an extent below 0", hint="export it again")
    if max(dims, default=0) > limit or math.prod(dims) > limit:
        shape = " × ".join(str(extent) for extent in dims)
        raise UnsupportedError(
            f"{where}: tensor {name!r} has {shape} elements, more than {limit}",
            hint=f"the limit is {LIMIT}, which can be set higher",
        )


def _check_weights(model: "onnx.ModelProto", where: str) -> None:
    import numpy as np
    import onnx

    multiplied = set(_multiplied(model.graph))
    for weight in model.graph.initializer:
        try:
            array = onnx.numpy_helper.to_array(weight)
        except (KeyError, NotImplementedError, TypeError, ValueError) as error:
            raise InputError(f"{where}: weight {weight.name!r} is damaged: {error}") from error
        if array.dtype.kind != "f":
            continue
        # Infinity is a mask's or a Clip's in its place; among what is multiplied it is a fault.
        if np.isnan(array).any() or (weight.name in multiplied and np.isinf(array).any()):
            raise InputError(
                f"{where}: weight {weight.name!r} holds NaN or infinity",
                hint="the training that made it diverged; export an earlier checkpoint",
            )


def _multiplied(graph: "onnx.GraphProto") -> Iterator[str]:
    for node in graph.node:
        row = operators.of(node)
        if row is not None and (row.weights is not None or row.name.endswith("Normalization")):
            yield from node.input


def _check_inputs(graph: "onnx.GraphProto", where: str) -> None:
    import onnx

    for value in graph.input:
        if value.type.WhichOneof("value") != "tensor_type":
            raise UnsupportedError(
                f"{where}: input {value.name!r} is no tensor",
                hint="export a model that takes tensors",
            )
        if value.type.tensor_type.elem_type not in onnx.TensorProto.DataType.values()[1:]:
            raise InputError(
                f"{where}: input {value.name!r} is of no type that ONNX knows",
                hint="export it again",
            )


def _check_shapes(model: "onnx.ModelProto", where: str) -> None:
    """Infer every shape, and hold what comes out to the limits."""
    inferred = _inferred(model, where)
    while windows.settle_first(model, inferred.graph):
        inferred = _inferred(model, where)
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim if d.HasField("dim_value")]
        _check_size(dims, value.name, where)
    emptiness.check(inferred.graph, where)
    operands.check(inferred.graph, where)
    _correct(model.graph, inferred.graph)


def _inferred(model: "onnx.ModelProto", where: str) -> "onnx.ModelProto":
    """The model's shapes. What the file itself says about results is left out, and corrected:
    exporters of old wrote the shapes of another batch there.
    """
    import onnx

    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    bare.graph.name = model.graph.name
    bare.functions.extend(model.functions)
    bare.graph.node.extend(model.graph.node)
    bare.graph.input.extend(model.graph.input)
    for weight in model.graph.initializer:
        if math.prod(weight.dims) <= _SHAPE_ARITHMETIC:
            bare.graph.initializer.append(weight)
        else:  # its shape is enough, and much smaller
            bare.graph.input.append(
                onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
            )
    for value in model.graph.output:
        kind = value.type.tensor_type.elem_type
        bare.graph.output.append(onnx.helper.make_tensor_value_info(value.name, kind, None))
    try:
        return shape_inference.inferred(
            bare, strict=True, check_type=True, most_elements=max_elements()
        )
    except UnsupportedError as error:
        hint = f"the limit is {LIMIT}, which can be set higher"
        raise UnsupportedError(f"{where}: {error.message}", hint=hint) from error
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise InputError(f"{where}: shapes or types do not fit: {_first_line(error)}") from error


def _correct(graph: "onnx.GraphProto", inferred: "onnx.GraphProto") -> None:
    """Replace the shapes declared of outputs, and drop those of other results, that are wrong."""
    known = {value.name: value for value in (*inferred.value_info, *inferred.output)}
    for value in graph.output:
        if value.name in known and _contradict(value, known[value.name]):
            value.type.CopyFrom(known[value.name].type)
    right = [
        v for v in graph.value_info if v.name not in known or not _contradict(v, known[v.name])
    ]
    if len(right) < len(graph.value_info):
        del graph.value_info[:]
        graph.value_info.extend(right)


def _contradict(declared: "onnx.ValueInfoProto", found: "onnx.ValueInfoProto") -> bool:
    if not (
        declared.type.tensor_type.HasField("shape") and found.type.tensor_type.HasField("shape")
    ):
        return False
    ours, theirs = declared.type.tensor_type.shape.dim, found.type.tensor_type.shape.dim
    return len(ours) != len(theirs) or any(
        a.HasField("dim_value") and b.HasField("dim_value") and a.dim_value != b.dim_value
        for a, b in zip(ours, theirs, strict=True)
    )


def _made(node: "onnx.NodeProto") -> str:
    return next((name for name in node.output if name), node.name)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

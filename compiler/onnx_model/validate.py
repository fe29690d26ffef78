"""What a foreign ONNX model must be before anything else reads it: whole, finite, bounded, typed.

Checked once, when a file is loaded; whoever gets the model afterwards may trust it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.onnx_model import declared_shapes, definitions, joined, operators
from edgekiln.compiler.onnx_model.own_functions import add_functions, functions
from edgekiln.compiler.onnx_model.sizes import check_sizes
from edgekiln.runtime.errors import InputError, UnsupportedError, first_line

if TYPE_CHECKING:
    import onnx

_WEIGHTS_ARE_NO_INPUTS = 4  # version of ONNX's file format since when they need not be listed


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
    joined.move_home(model)
    _normalize(model, where)
    check_sizes(model.graph, where)
    _check_weights(model, where)
    declared = declared_shapes.skeleton(model)
    try:
        onnx.checker.check_model(model)
        if model.functions:
            # What stood in functions stands in the graph after this, and is held to the same
            # limits.
            model = inliner.inline_selected_functions(model, kept, exclude=True)
            add_functions(model)
            check_sizes(model.graph, where)
    except (onnx.checker.ValidationError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{where}: not a valid ONNX model: {first_line(error)}") from error
    _check_inputs(model.graph, where)
    model = definitions.expanded(model)
    declared_shapes.settle(model, declared, where)
    return model


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
        newest = onnx.defs.onnx_opset_version()
        if not domain and opset.version > newest:
            raise UnsupportedError(
                f"{where}: is of operator set {opset.version}, and the newest known is {newest}",
                hint=f"export it with opset_version={newest} or lower",
            )
        if domain in used and domain not in {known.domain for known in opsets}:
            opsets.append(onnx.helper.make_opsetid(domain, opset.version))
    if len(opsets) < len(model.opset_import) and not _nested(model.graph):
        del model.opset_import[:]
        model.opset_import.extend(opsets)


def _nested(graph: "onnx.GraphProto") -> bool:
    return any(a.HasField("g") or a.graphs for node in graph.node for a in node.attribute)


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

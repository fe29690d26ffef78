"""Operators that ONNX's specification defines by others: the definition in their place.

Attention, RotaryEmbedding, GroupNormalization and their like have no kernel, but what they are made
of has. Done once, when a file is loaded, so that the quantizer sees products and not an Attention.
"""

from typing import TYPE_CHECKING, Protocol, cast

from edgekiln.compiler.onnx_model import channel_norms, joined, operators
from edgekiln.compiler.onnx_model.dynamic_forms import MICROSOFT

if TYPE_CHECKING:
    import onnx

_DOMAIN = "edgekiln.definitions"
# By definitions of ours, which have the same numbers.
_OURS = {"GroupNormalization": channel_norms.group_norm}
_DEPTH = 8  # definitions within definitions; ONNX has three


class _Defined(Protocol):
    """What an `onnx.defs.OpSchema` says of definitions, and its types leave out."""

    @property
    def has_context_dependent_function(self) -> bool: ...

    @property
    def function_opset_versions(self) -> list[int]: ...

    @property
    def context_dependent_function_opset_versions(self) -> list[int]: ...

    def get_function_with_opset_version(self, opset: int, /) -> bytes: ...

    def get_context_dependent_function_with_opset_version(
        self, opset: int, node: bytes, operands: list[bytes], /
    ) -> bytes: ...


def expanded(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The model without the operators that are known by their definition alone.

    These are the rows of the operator table that say so, and any other whose attributes or results
    no rule reads. What ONNX does not define in the model's version stays, for the check of
    operators to refuse.
    """
    from onnx import inliner

    # One of ONNX Runtime's may wait for the shapes that the one before it gives.
    joints = sum(node.domain == MICROSOFT for node in model.graph.node)
    for _ in range(_DEPTH + joints):
        found = _with_functions(model)
        if found is None:
            break
        # Not our nodes' definitions, whose kernels need the nodes.
        ours = [(each.domain, each.name) for each in found.functions if each.domain == _DOMAIN]
        model = inliner.inline_selected_functions(found, ours)
        _forget(model)
    return model


def _with_functions(model: "onnx.ModelProto") -> "onnx.ModelProto | None":
    """A copy that calls a function of its own in the place of each such operator; None if there is
    none.
    """
    import onnx

    versions = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}
    read = {value.name for value in model.graph.output}
    read.update(name for node in model.graph.node for name in node.input if name)
    places = [
        i
        for i, node in enumerate(model.graph.node)
        if operators.by_definition(node, versions.get(_domain(node), 1), read)
    ]
    if not places:
        return None
    types = _types(model)
    found = onnx.ModelProto()
    found.CopyFrom(model)
    # A function for each call: a body may depend on the attributes and types of its node.
    for place in places:
        node = found.graph.node[place]
        definition = _definition(node, versions, types)
        if definition is not None:
            definition.name, definition.domain = f"{node.op_type}{place}", _DOMAIN
            found.functions.append(definition)
            node.op_type, node.domain = definition.name, _DOMAIN
    if not found.functions:
        return None
    found.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    return found


def _definition(
    node: "onnx.NodeProto", versions: dict[str, int], types: "dict[str, onnx.TypeProto]"
) -> "onnx.FunctionProto | None":
    """Its body in the model's version of ONNX; every attribute of the node is there afterwards."""
    import onnx

    try:
        if _domain(node) == MICROSOFT:
            return joined.definition(node, versions.get("", 1), types)
        schema = onnx.defs.get_schema(node.op_type, versions.get(_domain(node), 1), _domain(node))
        given = {attribute.name for attribute in node.attribute}
        for name, attribute in schema.attributes.items():
            # Bodies refer to attributes by name, those at their default among them.
            if name not in given and attribute.default_value.name:
                node.attribute.append(attribute.default_value)
        if node.op_type in _OURS and not _domain(node):
            return _OURS[node.op_type](versions[""])
        body = _body(cast("_Defined", schema), node, versions, types)
    # KeyError is an operand whose type is unknown; the others are ONNX's, for what it cannot
    # define, and those of an attribute that is not of its type.
    except (KeyError, RuntimeError, TypeError, ValueError, onnx.defs.SchemaError):
        return None
    if not body:
        return None
    function = onnx.FunctionProto()
    function.ParseFromString(body)
    for entry in function.opset_import:
        if versions.get(entry.domain) is None:
            return None  # another operator set, which the model does not have
        entry.version = versions[entry.domain]
    return function


def _body(
    schema: _Defined,
    node: "onnx.NodeProto",
    versions: dict[str, int],
    types: "dict[str, onnx.TypeProto]",
) -> bytes:
    import onnx

    depends = schema.has_context_dependent_function
    listed = (
        schema.context_dependent_function_opset_versions
        if depends
        else schema.function_opset_versions
    )
    # A body holds from its version on, until the next that is listed.
    version = max((v for v in listed if v <= versions.get("", 1)), default=0)
    if not version:
        return b""
    if not depends:
        return schema.get_function_with_opset_version(version)
    operands = [
        (types[name] if name else onnx.TypeProto()).SerializeToString() for name in node.input
    ]
    return schema.get_context_dependent_function_with_opset_version(
        version, node.SerializeToString(), operands
    )


def _types(model: "onnx.ModelProto") -> "dict[str, onnx.TypeProto]":
    """The type of every tensor for which it can be inferred."""
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        graph = model.graph  # whoever infers shapes next says what does not fit
    types = {v.name: v.type for v in (*graph.input, *graph.value_info, *graph.output)}
    for weight in model.graph.initializer:
        types[weight.name] = onnx.helper.make_tensor_type_proto(weight.data_type, weight.dims)
    return types


def _forget(model: "onnx.ModelProto") -> None:
    """No definition that was put in, and no operator set of theirs, stays behind."""
    others = [function for function in model.functions if function.domain != _DOMAIN]
    del model.functions[:]
    model.functions.extend(others)
    kept = [entry for entry in model.opset_import if entry.domain != _DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _domain(node: "onnx.NodeProto") -> str:
    return "" if node.domain == "ai.onnx" else node.domain

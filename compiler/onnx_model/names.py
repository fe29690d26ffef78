"""Names a user recognises. `torch.onnx.export` calls nodes node_Conv_138 and tensors getitem_3."""

import ast
from collections.abc import Collection
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import operators

if TYPE_CHECKING:
    import onnx

_SCOPES = "pkg.torch.onnx.name_scopes"
# What the exporter puts behind the name of an input that is an output, too.
_GIVEN_AWAY = "_orig"


def name_after_modules(model: "onnx.ModelProto") -> None:
    """Name every node, and the tensor it makes, after the module it came from: "blocks.0.conv1".

    A convolution or Gemm takes its module's name; another node its module's and the operator's:
    "blocks.0.add". Equal names are counted: "blocks.0.relu", "blocks.0.relu_1". Names of the
    model's inputs, outputs and weights stay.
    """
    weights = {weight.name for weight in model.graph.initializer}
    kept = {value.name for value in (*model.graph.input, *model.graph.output)} | weights
    taken = set(kept)
    renamed: dict[str, str] = {}
    for node in model.graph.node:
        node.name = unique(_name(node, weights), taken)
        for index, tensor in enumerate(node.output):
            if tensor and tensor not in kept:
                renamed[tensor] = node.name if index == 0 else f"{node.name}.{index}"
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renamed.get(name, name)
    del model.graph.value_info[:]  # shapes under the old names


def restore_inputs(model: "onnx.ModelProto", known: Collection[str]) -> None:
    """Give each input that is an output, too, the name again that it has in the program: the
    exporter has given that to the output.
    """
    graph = model.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | {*known}
    renamed: dict[str, str] = {}
    for value in graph.input:
        name = value.name.removesuffix(_GIVEN_AWAY)
        if value.name not in known and name in known:
            renamed |= {value.name: name, name: unique(f"{name}_out", taken)}
    for value in (*graph.input, *graph.output):
        value.name = renamed.get(value.name, value.name)
    for node in graph.node:
        for operands in (node.input, node.output):
            operands[:] = [renamed.get(name, name) for name in operands]
    if renamed:
        del graph.value_info[:]  # types under the old names


def strip_traces(model: "onnx.ModelProto") -> None:
    """Remove doc strings and node metadata: they hold paths and stack traces of this machine."""
    graph = model.graph
    model.ClearField("doc_string")
    values = (*graph.input, *graph.output, *graph.value_info)
    for item in (graph, *graph.node, *graph.initializer, *values):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")


def _name(node: "onnx.NodeProto", weights: set[str]) -> str:
    row = operators.of(node)
    if (
        row is not None and row.weights is not None and row.weights.bias
    ):  # the scope of a folded pair is the batch norm's
        weight = str(node.input[1])
        if weight in weights and weight.endswith(".weight"):
            return weight.removesuffix(".weight")
    operator = str(node.op_type).lower()
    module = next((_module(p.value) for p in node.metadata_props if p.key == _SCOPES), "")
    if not module:
        return operator
    return module if module.rpartition(".")[2] == operator else f"{module}.{operator}"


def _module(scopes: str) -> str:
    """The innermost of a node's scopes: ['', 'blocks', 'blocks.0', 'add_4'] → "blocks.0"."""
    return str(["", *ast.literal_eval(scopes)][-2])


def unique(name: str, taken: set[str]) -> str:
    """`name`, or one that begins so and is not taken; it then is."""
    count, candidate = 0, name
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate

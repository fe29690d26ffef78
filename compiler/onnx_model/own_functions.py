"""Nodes of ours, and what each computes as an ONNX function, in ONNX's own operators.

A model that has such nodes holds the functions beside them, so that any ONNX tool computes the very
numbers of our kernels, and ONNX Runtime is the oracle as for other models. The compiler has kernels
for the nodes and never looks inside.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import detection_functions as detection
from edgekiln.compiler.onnx_model import nested
from edgekiln.compiler.onnx_model import recurrent_functions as recurrent
from edgekiln.compiler.onnx_model.ends import functions as ends
from edgekiln.compiler.onnx_model.tflite import functions as tflite

if TYPE_CHECKING:
    import onnx

IR_VERSION = 10  # of ONNX's file format: the first with functions that have attributes
OPSET = 21  # of ONNX's operators in them, where a model does not say another one
# Domain → texts of its functions, each behind those that it calls. A closing brace at a line's
# end is a function's last character, by which they are told apart.
_TEXTS: Mapping[str, str] = {
    tflite.DOMAIN: tflite.TEXTS, ends.DOMAIN: ends.TEXTS, detection.DOMAIN: detection.TEXTS,
    recurrent.DOMAIN: recurrent.TEXTS,
}  # fmt: skip
DOMAINS = (*_TEXTS,)
_SCATTER_ELEMENTS = 11  # is called so since this operator set


@cache
def functions() -> "tuple[onnx.FunctionProto, ...]":
    """All of them, each behind those that it calls."""
    from onnx import parser

    return tuple(
        parser.parse_function(
            f'<domain: "{domain}", opset_import: ["": {OPSET}, "{domain}": 1]>\n{text}}}\n'
        )
        for domain, texts in _TEXTS.items()
        for text in texts.split("}\n")
        if text.strip()
    )


def declare(model: "onnx.ModelProto") -> None:
    """Give a model all that nodes of ours, which were put into it, ask for."""
    import onnx

    known = {entry.domain for entry in model.opset_import}
    used = {node.domain for node in model.graph.node if node.domain in DOMAINS}
    if used:
        model.opset_import.extend(onnx.helper.make_opsetid(d, 1) for d in sorted(used - known))
        model.ir_version = max(model.ir_version, IR_VERSION)
        add_functions(model)


def add_functions(model: "onnx.ModelProto") -> None:
    """Give a model the definitions of the nodes of ours that it has, in the place of what it says
    of those domains itself.
    """
    kept = [function for function in model.functions if function.domain not in DOMAINS]
    used = {(node.domain, node.op_type) for node in model.graph.node if node.domain in DOMAINS}
    ours = []
    # From callers to what they call, so that all callers of a function were met before it.
    for function in reversed(functions()):
        if (function.domain, function.name) in used:
            ours.append(_in_the_models_opset(function, model))
            used |= {(node.domain, node.op_type) for node in _called(function.node) if node.domain}
    del model.functions[:]
    model.functions.extend([*kept, *reversed(ours)])


def _called(nodes: "Iterable[onnx.NodeProto]") -> "Iterator[onnx.NodeProto]":
    """Nodes, and those of the graphs inside of them."""
    for node in nodes:
        yield node
        for graph in nested.inner_graphs(node):
            yield from _called(graph.node)


def _in_the_models_opset(
    function: "onnx.FunctionProto", model: "onnx.ModelProto"
) -> "onnx.FunctionProto":
    """A function for ends or detectors, whose operators mean the same in every version that such
    models have: ONNX Runtime takes one version of a domain alone. A model with TFLite's functions
    has theirs.
    """
    import onnx

    if function.domain == tflite.DOMAIN:
        return function
    versions = {entry.domain: entry.version for entry in model.opset_import}
    copy = onnx.FunctionProto()
    copy.CopyFrom(function)
    for entry in copy.opset_import:
        entry.version = versions.get(entry.domain, entry.version)
    if versions.get("", OPSET) < _SCATTER_ELEMENTS:
        for node in copy.node:
            if node.op_type == "ScatterElements":
                node.op_type = "Scatter"
    return copy

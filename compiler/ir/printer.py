"""A graph as text for people: what each node makes, from what, and by which numbers."""

from collections.abc import Iterator
from dataclasses import MISSING, fields
from textwrap import wrap

import numpy as np

from edgekiln.compiler.ir.function import FunctionStep
from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.ir.onnx_op import Onnx, Subgraph
from edgekiln.compiler.ir.tensor import Tensor

_WIDTH, _INDENT = 80, "    "


def printed(graph: Graph) -> str:
    """The inputs, the nodes in order, the outputs; arrays by their type and shape alone."""
    lines = [f"input {_typed(graph, name)}" for name in graph.inputs]
    for node in graph.nodes:
        lines += _lines(graph, node)
    lines.append(f"output {', '.join(graph.outputs)}")
    lines += [f"state {state.input} becomes {state.output}" for state in graph.states]
    return "\n".join(lines) + "\n"


def _lines(graph: Graph, node: Node, indent: str = "") -> Iterator[str]:
    made = ", ".join(_typed(graph, name) for name in node.outputs if name)
    read = ", ".join(_read(graph, name) for name in node.inputs)
    reason = f"  # {node.reason}" if node.reason else ""
    yield f"{indent}{made} = {node.op.kind}({read}){reason}"
    yield from wrap(
        " ".join(_details(node.op)),
        _WIDTH,
        initial_indent=indent + _INDENT,
        subsequent_indent=indent + _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    if isinstance(node.op, Subgraph):
        for inner in node.op.nodes:
            yield from _lines(graph, inner, indent + _INDENT)


def _typed(graph: Graph, name: str) -> str:
    tensor = graph.tensors.get(name)
    return f"{name}: ?" if tensor is None else f"{name}: {_type(tensor)}"


def _type(tensor: Tensor) -> str:
    words = [f"{tensor.dtype}[{_row(tensor.shape)}]"]
    if tensor.quant is not None:
        words.append(str(tensor.quant))
    if tensor.layout != "plain":
        words.append(tensor.layout)
    if halo := tensor.halo:
        words.append(f"halo {_row((halo.top, halo.left, halo.bottom, halo.right))}")
    if part := tensor.part:
        words.append(f"in {part.whole} from {part.start}")
    return " ".join(words)


def _read(graph: Graph, name: str) -> str:
    """An operand; of a constant, its type, too."""
    array = graph.constants.get(name)
    return name if array is None else f"{name}: {_value(array)}"


def _details(op: Op) -> list[str]:
    if isinstance(op, Onnx):
        values = dict(op.attrs)
    elif isinstance(op, Subgraph):
        values = {}
    else:
        values = {
            field.name: getattr(op, field.name)
            for field in fields(op)
            if field.default is MISSING or getattr(op, field.name) is not field.default
        }
    # Left out are empty values, and a field that only repeats the operation's kind, as `function`
    # of a sum does.
    words = [f"{name}={_value(value)}" for name, value in values.items()]
    return [word for word in words if not word.endswith(("=", f"={op.kind}"))]


def _value(value: object) -> str:
    match value:
        case np.ndarray():
            return f"{value.dtype}[{_row(value.shape)}]"
        case np.floating() | float():
            return f"{float(value):g}"
        case bytes():
            return value.decode("utf-8", "replace")
        case tuple() | list():
            steps = any(isinstance(each, FunctionStep) for each in value)
            return (" → " if steps else ",").join(_value(each) for each in value)
    return str(value)


def _row(extents: tuple[int, ...]) -> str:
    return ",".join(map(str, extents))

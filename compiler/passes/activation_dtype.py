"""Give quantized tensors the byte type that the target's dot instruction multiplies with int8.

x86's takes unsigned activations, ARM's signed ones. Shifting codes and zero points by 128 together
changes no value.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from edgekiln.compiler.ir.graph import Graph, Node, Quant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CODES = ("lo", "hi", "own_lo", "own_hi", "value")  # attributes that are codes of the output


def activation_dtype(graph: Graph, dtype: str) -> None:
    """Retype all quantized tensors to `dtype` ("uint8" or "int8"); the program's own inputs and
    outputs keep their type, behind a "requantize".
    """
    _convert_edges(graph, dtype)
    shift = {"uint8": 128, "int8": -128}[dtype]
    edges = {*graph.inputs, *graph.outputs}
    moved = {
        name
        for name, tensor in graph.tensors.items()
        if tensor.quant is not None and tensor.dtype != dtype and name not in edges
    }
    for name in moved:
        quant = graph.tensors[name].quant
        assert quant is not None
        graph.retype(name, dtype=dtype, quant=_shifted(quant, shift))
        if name in graph.constants:
            graph.constants[name] = _shift_array(graph.constants[name], shift)
    graph.nodes = [
        _shift_codes(node, shift) if node.name in moved else node for node in graph.nodes
    ]


def _shifted(quant: Quant, shift: int) -> Quant:
    return replace(quant, zero_point=quant.zero_point + shift)


def _shift_codes(node: Node, shift: int) -> Node:
    attrs = dict(node.attrs)
    for key in _CODES:
        if key in attrs:
            attrs[key] += shift
    if "own" in attrs:
        attrs["own"] = _shifted(attrs["own"], shift)
    if "table" in attrs:
        attrs["table"] = _shift_array(attrs["table"], shift)
    return replace(node, attrs=attrs)


def _shift_array(codes: "NDArray[np.generic]", shift: int) -> "NDArray[np.generic]":
    other = {"int8": "uint8", "uint8": "int8"}[codes.dtype.name]
    return (codes.astype("int16") + shift).astype(other)


def _convert_edges(graph: Graph, dtype: str) -> None:
    """Put a "requantize" between an 8-bit input or output of the other type and the graph."""
    for tensor in list(graph.quantized([*graph.inputs, *graph.outputs])):
        if tensor.dtype != dtype:
            graph.insert_edge(tensor.name, replace(tensor, name=f"{tensor.name}:{dtype}"))

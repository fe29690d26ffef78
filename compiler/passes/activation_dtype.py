"""Give quantized tensors the byte type that the target's dot instruction multiplies with int8.

x86's takes unsigned activations, ARM's signed ones. Shifting codes and zero points by 128 together
changes no value.
"""

from collections.abc import Set
from dataclasses import replace

from edgekiln.compiler.ir.codes import shift_array
from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.moves import Requantize
from edgekiln.compiler.ir.rewrite import graph_pass
from edgekiln.compiler.ir.tensor import BYTES


@graph_pass
def activation_dtype(graph: Graph, dtype: str) -> None:
    """Retype all quantized tensors to `dtype` ("uint8" or "int8"); the program's own inputs and
    outputs keep their type, behind a "requantize".
    """
    # Before anything moves: what lies inside of these copies is a tensor like any other.
    edges = {*graph.inputs, *graph.outputs} - _coded_states(graph)
    _convert_edges(graph, dtype, edges)
    shift = {"uint8": 128, "int8": -128}[dtype]
    moved = {
        tensor.name
        for tensor in graph.quantized(tuple(graph.tensors))
        # Sums of codes are numbers, whatever the codes are.
        if tensor.dtype in BYTES and tensor.dtype != dtype and tensor.name not in edges
    }
    for name in moved:
        tensor = graph.tensors[name]
        assert tensor.quant is not None, name
        graph.put(replace(tensor, dtype=dtype, quant=tensor.quant.shifted(shift)))
        # The constant operand of a sum or a product is codes, as an activation is.
        if name in graph.constants:
            graph.constants[name] = shift_array(graph.constants[name], shift)
    graph.nodes = [
        replace(node, op=node.op.shifted(shift)) if node.name in moved else node
        for node in graph.nodes
    ]


def _coded_states(graph: Graph) -> set[str]:
    """The states that are codes in the model itself: nobody outside sees which type they have."""
    pairs = [(state.input, state.output) for state in graph.states]
    return {name for pair in pairs if len([*graph.quantized(pair)]) == 2 for name in pair}


def _convert_edges(graph: Graph, dtype: str, edges: Set[str]) -> None:
    """Put a "requantize" between an 8-bit input or output of the other type and the graph."""
    # What is an input and an output stands twice in this list.
    for tensor in list(graph.quantized([*graph.inputs, *graph.outputs])):
        if tensor.name not in edges:
            continue
        other = replace(tensor, name=f"{tensor.name}:{dtype}")
        if tensor.dtype in BYTES - {dtype} and other.name not in graph.tensors:
            graph.insert_edge(tensor.name, other, Requantize())

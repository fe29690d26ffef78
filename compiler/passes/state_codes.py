"""A state is remembered as the codes that the next call reads, not as the floats they stand for.

Dequantizing codes and quantizing the result again with the same scale and zero point gives the same
codes, so a pair whose two ends have equal ones passes the codes on; any other stays float.
"""

from dataclasses import replace

from edgekiln.compiler.ir.graph import Graph, StatePair
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import Dequantize, Quantize
from edgekiln.compiler.ir.rewrite import graph_pass


@graph_pass
def state_codes(graph: Graph) -> None:
    """Drop the quantization behind a state's input and the dequantization before its output."""
    for place, state in enumerate(graph.states):
        ends = _coded_ends(graph, state)
        if ends is None:
            continue
        reader, maker = ends
        given, made = reader.name, maker.inputs[0]
        graph.nodes = [node for node in graph.nodes if node is not reader and node is not maker]
        graph.inputs = [given if name == state.input else name for name in graph.inputs]
        graph.outputs = [made if name == state.output else name for name in graph.outputs]
        del graph.tensors[state.input], graph.tensors[state.output]
        graph.states[place] = replace(state, input=given, output=made)


def _coded_ends(graph: Graph, state: StatePair) -> tuple[Node, Node] | None:
    """The only reader and the maker, where these quantize and dequantize by the same numbers."""
    users = graph.consumers()
    readers, maker = users.get(state.input, []), graph.producers().get(state.output)
    # Floats that something else reads, too, would have to be computed all the same.
    if len(readers) != 1 or maker is None or users.get(state.output):
        return None
    (reader,) = readers
    if not isinstance(reader.op, Quantize) or not isinstance(maker.op, Dequantize):
        return None
    codes = (reader.name, maker.inputs[0])
    if {*codes} & {*graph.inputs, *graph.outputs}:
        return None
    first, last = (graph.tensors[name] for name in codes)
    same = first.quant == last.quant and first.dtype == last.dtype
    return (reader, maker) if same else None

"""What changes no code is no work: a reshape to the same shape, a slice of all there is, a product
that is another scale.
"""

import numpy as np

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.moves import Reshape, Slice
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import Binary
from edgekiln.compiler.ir.rewrite import graph_pass, remove_unused
from edgekiln.compiler.ir.tensor import BYTES
from edgekiln.compiler.passes.fuse_lookups import every_code, product_codes


@graph_pass
def drop_identities(graph: Graph) -> None:
    """Drop moves first, so that products meet those who read them."""
    while _drop_moves(graph):
        pass  # what had two names may now be another's operand
    _drop_scalings(graph)


def _drop_moves(graph: Graph) -> bool:
    """Let the producer write under the result's name, where it can have any layout and halo.

    Left alone: a move of a program's input or output, which keep the names the model gave them.
    """
    merged: dict[str, str] = {}
    for node in graph.nodes:
        if _is_identity(graph, node):
            merged[node.inputs[0]] = node.name

    def final(name: str) -> str:
        while name in merged:
            name = merged[name]
        return name

    # Moves of moves: all of their names become the last one's.
    renames = {name: final(name) for name in merged}
    graph.nodes = [
        node.renamed(renames) for node in graph.nodes if merged.get(node.inputs[0]) != node.name
    ]
    for name in merged:
        del graph.tensors[name]
    return bool(merged)


def _is_identity(graph: Graph, node: Node) -> bool:
    # A dropped move gives its source its own name, and those of edges are the model's.
    if not isinstance(node.op, Reshape | Slice) or node.inputs[0] in (
        *graph.inputs,
        *graph.outputs,
    ):
        return False
    x, y = graph.tensors[node.inputs[0]], graph.tensors[node.name]
    return (x.shape, x.dtype, x.quant) == (y.shape, y.dtype, y.quant)


def _drop_scalings(graph: Graph) -> None:
    """Let convolutions and products read what a multiplication by a constant reads, where that
    leaves every code as it is: 1/√d in attention, when the quantizer scaled the range with it.
    """
    same = {node.name: source for node in graph.nodes if (source := _same_codes(graph, node))}
    graph.nodes = [node.renamed(same) if node.op.knows_scales else node for node in graph.nodes]
    remove_unused(graph)


def _same_codes(graph: Graph, node: Node) -> str | None:
    """The operand of a product with a constant whose codes, and zero point, are the result's."""
    op = node.op
    if not isinstance(op, Binary) or op.function != "mul" or graph.tensors[node.name].quant is None:
        return None
    factors = [name for name in node.inputs if name in graph.constants]
    others = [name for name in node.inputs if name not in graph.constants]
    if len(factors) != 1 or len(others) != 1 or graph.constants[factors[0]].size != 1:
        return None
    x, factor, y = (graph.tensors[name] for name in (*others, *factors, node.name))
    if (x.shape, x.dtype) != (y.shape, y.dtype) or x.quant is None or y.quant is None:
        return None
    if x.dtype not in BYTES:
        return None
    # Whether the scales fit decides nothing, for float32 rounds: each of the 256 codes is tried
    # by the arithmetic of the kernel that would have computed it.
    codes = every_code(x)
    constant = graph.constants[factor.name].reshape(-1)
    made = product_codes(op, (x, codes), (factor, constant), y)
    unchanged = x.quant.zero_point == y.quant.zero_point and np.array_equal(made, codes)
    return x.name if unchanged else None

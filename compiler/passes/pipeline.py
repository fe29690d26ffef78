"""From an ONNX graph to integer operations with a layout: the table of contents."""

from edgekiln.compiler.graph import Graph
from edgekiln.compiler.passes.activation_dtype import activation_dtype
from edgekiln.compiler.passes.codes_at_edges import codes_at_edges
from edgekiln.compiler.passes.drop_identities import drop_identities
from edgekiln.compiler.passes.fuse_residual import fuse_residual
from edgekiln.compiler.passes.fuse_shuffle import fuse_shuffle
from edgekiln.compiler.passes.fuse_tables import fuse_tables
from edgekiln.compiler.passes.fuse_transpose import fuse_transpose
from edgekiln.compiler.passes.halo import halo
from edgekiln.compiler.passes.islands import islands
from edgekiln.compiler.passes.layout import layout
from edgekiln.compiler.passes.qdq_to_integer import qdq_to_integer


def lower_graph(graph: Graph, activation: str, *, integer_edges: bool = False) -> None:
    """Rewrite in place for a target whose dot product takes `activation` bytes.

    Args:
        integer_edges: the program takes and gives codes, where the model itself has floats.
    """
    # 1. Integers: what computes on quantized values, and what stays float.
    qdq_to_integer(graph)
    drop_identities(graph)
    fuse_tables(graph)
    fuse_shuffle(graph)
    fuse_residual(graph)
    fuse_transpose(graph)
    activation_dtype(graph, activation)
    if integer_edges:
        codes_at_edges(graph)
    islands(graph)
    # 2. Memory: how the values lie.
    layout(graph)
    halo(graph)

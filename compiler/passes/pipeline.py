"""From an ONNX graph to operations of our own with a layout: the table of contents."""

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.passes.activation_dtype import activation_dtype
from edgekiln.compiler.passes.codes_at_edges import codes_at_edges
from edgekiln.compiler.passes.concat_in_place import concat_in_place
from edgekiln.compiler.passes.drop_identities import drop_identities
from edgekiln.compiler.passes.fallback import islands
from edgekiln.compiler.passes.float_kernels import float_kernels
from edgekiln.compiler.passes.fuse_function import fuse_function
from edgekiln.compiler.passes.fuse_lookups import fuse_tables
from edgekiln.compiler.passes.fuse_residual import fuse_residual
from edgekiln.compiler.passes.fuse_shuffle import fuse_shuffle
from edgekiln.compiler.passes.fuse_transpose import fuse_transpose, pixels_as_rows
from edgekiln.compiler.passes.gate import FloatOperator, float_operators
from edgekiln.compiler.passes.halo import halo
from edgekiln.compiler.passes.layout import layout
from edgekiln.compiler.passes.qdq_to_integer import is_quantized, qdq_to_integer


def lower_graph(
    graph: Graph, activation: str, *, integer_edges: bool = False
) -> list[FloatOperator]:
    """Rewrite in place for a target whose dot product takes `activation` bytes.

    Args:
        integer_edges: the program takes and gives codes, where the model itself has floats.

    Returns:
        What stayed float in a quantized model; nothing of a float model.
    """
    stayed_float: list[FloatOperator] = []
    if is_quantized(graph):
        # 1. Integers: what computes on quantized values, and what stays float.
        qdq_to_integer(graph)
        stayed_float = float_operators(graph)
    # 2. Floats: what has a kernel, and what is left to Relax.
    float_kernels(graph)
    drop_identities(graph)
    fuse_tables(graph)
    fuse_shuffle(graph)
    fuse_residual(graph)
    fuse_function(graph)
    fuse_transpose(graph)
    pixels_as_rows(graph)
    activation_dtype(graph, activation)
    if integer_edges:
        codes_at_edges(graph)
    islands(graph)
    # 3. Memory: how the values lie.
    layout(graph)
    halo(graph)
    concat_in_place(graph)
    return stayed_float

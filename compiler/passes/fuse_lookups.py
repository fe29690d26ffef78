"""Functions of one quantized value become one lookup table: x · sigmoid(x), 0.125 · x, a table
behind a table.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.codes import IntFinish, Table
from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import Binary, Lookup
from edgekiln.compiler.ir.rewrite import graph_pass, remove_unused
from edgekiln.compiler.ir.tensor import BYTES, QMIN, Tensor
from edgekiln.compiler.kernels.epilogue.scales import ratio

_CONSTANT = ""  # depends on no tensor

# A tensor, and for each of its codes what is made of it.
_Entries = tuple[str, NDArray[np.generic]]


@graph_pass
def fuse_lookups(graph: Graph) -> None:
    """Compose tables, and products of functions of one value (hard-swish, a scale), into tables.

    The bits do not change: entries are computed by the kernels' own arithmetic.
    """
    known: dict[str, _Entries] = {}
    fused: dict[str, Node] = {}
    for node in graph.nodes:
        found = _composed(graph, known, node) or _product(graph, known, node)
        if found is None:
            continue
        # Also where nothing is fused here: the next one may be.
        known[node.name] = root, entries = found
        if not isinstance(node.op, Lookup) or (root,) != node.inputs:
            op = Lookup(table=Table(entries=entries))
            fused[node.name] = replace(node, op=op, inputs=(root,))
    graph.nodes = [fused.get(node.name, node) for node in graph.nodes]
    remove_unused(graph)


def _composed(graph: Graph, known: dict[str, _Entries], node: Node) -> _Entries | None:
    if not isinstance(node.op, Lookup):
        return None
    (source,), entries = node.inputs, node.op.table.entries
    if source not in known:
        return source, entries
    root, before = known[source]
    # Signed codes begin at -128, and tables at index 0.
    return root, entries[before.astype(int) - QMIN[graph.tensors[source].dtype]]


def _product(graph: Graph, known: dict[str, _Entries], node: Node) -> _Entries | None:
    op, result = node.op, graph.tensors[node.name]
    if not isinstance(op, Binary) or op.function != "mul" or result.quant is None:
        return None
    sides = [graph.tensors[name] for name in node.inputs]
    if not {side.dtype for side in (*sides, result)} <= BYTES:
        return None
    (root, a), (other, b) = (_function(graph, known, side) for side in sides)
    # Of two values no table of 256 entries is a function; and one that is broadcast has other
    # neighbours at each place.
    roots = {root, other} - {_CONSTANT}
    varying = [side for side in sides if side.name not in graph.constants]
    if len(roots) != 1 or any(side.shape != result.shape for side in varying):
        return None
    return roots.pop(), product_codes(op, (sides[0], a), (sides[1], b), result)


def product_codes(
    op: Binary,
    a: tuple[Tensor, NDArray[np.generic]],
    b: tuple[Tensor, NDArray[np.generic]],
    result: Tensor,
) -> NDArray[np.generic]:
    """What a product makes of codes of its operands, by its kernel's own arithmetic.

    Args:
        a, b: an operand's tensor, and codes that it may have.
    """
    (of_a, a_codes), (of_b, b_codes) = a, b
    assert of_a.quant is not None
    assert of_b.quant is not None
    assert result.quant is not None
    assert isinstance(op.finish, IntFinish)
    whole = (a_codes.astype(np.int32) - of_a.quant.zero_point) * (
        b_codes.astype(np.int32) - of_b.quant.zero_point
    )
    factor = ratio(of_a.quant.scale * of_b.quant.scale, result.quant.scale)
    steps = np.rint(whole.astype(np.float32) * factor) + result.quant.zero_point
    codes: NDArray[np.generic] = steps.clip(*op.finish.limits).astype(result.dtype)
    return codes


def _function(graph: Graph, known: dict[str, _Entries], tensor: Tensor) -> _Entries:
    """What the tensor's codes depend on, and how; one number depends on nothing."""
    constant = graph.constants.get(tensor.name)
    if constant is not None and constant.size == 1:
        return _CONSTANT, constant.reshape(1)
    return known.get(tensor.name, (tensor.name, every_code(tensor)))


def every_code(tensor: Tensor) -> NDArray[np.generic]:
    """Each code of the tensor's type: the function that changes nothing."""
    low = QMIN[tensor.dtype]
    return np.arange(low, low + 256).astype(tensor.dtype)

"""Functions of one quantized value become one table: x · sigmoid(x), 0.125 · x, a table behind a
table.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from edgekiln.compiler.ir.graph import Graph, Node, Tensor
from edgekiln.compiler.passes.qdq_to_integer import remove_unused
from edgekiln.compiler.passes.rewriter import QMIN

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CONSTANT = ""  # depends on no tensor


def fuse_tables(graph: Graph) -> None:
    """Compose tables, and products of functions of one value (hard-swish, a scale), into tables.

    The bits do not change: entries are computed by the kernels' own arithmetic.
    """
    known: dict[str, tuple[str, NDArray[np.generic]]] = {}
    fused: dict[str, Node] = {}
    for node in graph.nodes:
        found = _table(graph, known, node) or _product(graph, known, node)
        if found is None:
            continue
        known[node.name] = root, table = found
        fused[node.name] = replace(node, op="table", inputs=(root,), attrs={"table": table})
    graph.nodes = [fused.get(node.name, node) for node in graph.nodes]
    remove_unused(graph)


def _table(
    graph: Graph, known: "dict[str, tuple[str, NDArray[np.generic]]]", node: Node
) -> "tuple[str, NDArray[np.generic]] | None":
    if node.op != "table":
        return None
    (source,) = node.inputs
    if source not in known:
        return source, node.attrs["table"]
    root, before = known[source]
    return root, node.attrs["table"][before.astype(int) - QMIN[graph.tensors[source].dtype]]


def _product(
    graph: Graph, known: "dict[str, tuple[str, NDArray[np.generic]]]", node: Node
) -> "tuple[str, NDArray[np.generic]] | None":
    if node.op != "mul" or graph.tensors[node.name].quant is None:
        return None
    sides = [graph.tensors[name] for name in node.inputs]
    (root, a), (other, b) = (_function(graph, known, side) for side in sides)
    result = graph.tensors[node.name]
    roots = {root, other} - {_CONSTANT}
    varying = [side for side in sides if side.name not in graph.constants]
    if len(roots) != 1 or any(side.shape != result.shape for side in varying):
        return None
    return roots.pop(), product_codes(node, (sides[0], a), (sides[1], b), result)


def product_codes(
    node: Node,
    a: "tuple[Tensor, NDArray[np.generic]]",
    b: "tuple[Tensor, NDArray[np.generic]]",
    result: Tensor,
) -> "NDArray[np.generic]":
    """What a "mul" makes of codes of its operands, by its kernel's own arithmetic.

    Args:
        a, b: an operand's tensor, and codes that it may have.
    """
    import numpy as np

    from edgekiln.compiler.kernels.epilogue import ratio

    (of_a, a_codes), (of_b, b_codes) = a, b
    assert of_a.quant is not None
    assert of_b.quant is not None
    assert result.quant is not None
    whole = (a_codes.astype(np.int32) - of_a.quant.zero_point) * (
        b_codes.astype(np.int32) - of_b.quant.zero_point
    )
    factor = ratio(of_a.quant.scale * of_b.quant.scale, result.quant.scale)
    steps = np.rint(whole.astype(np.float32) * factor) + result.quant.zero_point
    codes: NDArray[np.generic] = steps.clip(node.attrs["lo"], node.attrs["hi"]).astype(result.dtype)
    return codes


def _function(
    graph: Graph, known: "dict[str, tuple[str, NDArray[np.generic]]]", tensor: Tensor
) -> "tuple[str, NDArray[np.generic]]":
    """What the tensor's codes depend on, and how; one number depends on nothing."""
    constant = graph.constants.get(tensor.name)
    if constant is not None and constant.size == 1:
        return _CONSTANT, constant.reshape(1)
    return known.get(tensor.name, (tensor.name, every_code(tensor)))


def every_code(tensor: Tensor) -> "NDArray[np.generic]":
    """Each code of the tensor's type: the function that changes nothing."""
    import numpy as np

    low = QMIN[tensor.dtype]
    return np.arange(low, low + 256).astype(tensor.dtype)

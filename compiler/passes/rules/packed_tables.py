"""Gather of a table whose values have four bits: it stays packed, and rows become floats."""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.ir.moves import INDICES, TakePacked
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.kernels.take_packed import packed
from edgekiln.compiler.passes.rewriter import Rewriter

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FOUR_BITS = "int4"  # as `ml_dtypes` names it


def is_packed(rw: Rewriter, node: Node) -> bool:
    """Whether a Gather reads rows of a table of int4, each of one scale, without zero points."""
    table = rw.weights.get(node.inputs[0])
    if table is None or table.values.dtype.name != _FOUR_BITS or table.values.ndim != 2:
        return False
    by_row = table.scale.size == 1 or (table.axis, table.scale.size) == (0, len(table.values))
    along_rows = onnx_op(node).integer("axis", 0) in (0, -2)
    return by_row and along_rows and not table.zero_point.astype(np.int32).any()


def take(rw: Rewriter, node: Node, numbers: str) -> str | None:
    """Take the rows of what `is_packed`."""
    index = rw.graph.tensors.get(numbers)
    if index is None or index.dtype not in INDICES:
        return "its indices are not int32 or int64"
    table = rw.weights[node.inputs[0]]
    rows, width = table.values.shape
    parts: dict[str, NDArray[np.generic]] = {
        f"{node.inputs[0]}:packed": packed(table.values),
        f"{node.inputs[0]}:scales": np.broadcast_to(table.scale, (rows,)).copy(),
    }
    for name, value in parts.items():
        rw.graph.constants[name] = value
        rw.graph.put(Tensor(name=name, shape=value.shape, dtype=value.dtype.name))
    rw.make(TakePacked(width=width), (*parts, numbers), node.name)
    return None

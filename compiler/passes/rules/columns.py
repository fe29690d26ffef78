"""Columns of a table: nodes of `ends.functions.DOMAIN` before a network."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.column_ops import Bucket, HashIndex
from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.own_nodes import demand
from edgekiln.models.column_indices import MOST_INDICES

_demand = partial(demand, hint="such nodes are made by `edgekiln attach`: attach the step again")


def bucket(rw: Rewriter, node: Node) -> None:
    """The buckets of numbers."""
    edges = _fixed(rw, node, "float32").reshape(-1).astype(np.float32)
    fits = edges.size > 0 and bool(np.isfinite(edges).all() and (edges[1:] > edges[:-1]).all())
    _demand(node, fits, "its edges do not ascend")
    _emit(rw, node, Bucket(edges=edges))


def hash_index(rw: Rewriter, node: Node) -> None:
    """The hashes of whole numbers."""
    count = _fixed(rw, node, "uint32")
    fits = count.size == 1 and 0 < int(count.reshape(-1)[0]) <= MOST_INDICES
    _demand(node, fits, "it has no number of indices")
    _emit(rw, node, HashIndex(count=int(count.reshape(-1)[0])))


def _fixed(rw: Rewriter, node: Node, dtype: str) -> NDArray[np.generic]:
    """The second operand, which says what the step does."""
    found = rw.graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    _demand(node, found is not None and found.dtype == dtype, "its second operand is not fixed")
    assert found is not None
    return found


def _emit(rw: Rewriter, node: Node, op: Op) -> None:
    x = rw.graph.tensors.get(node.inputs[0])
    _demand(node, x is not None, "it reads a constant")
    assert x is not None
    fault = op.fault((x,), (rw.graph.tensors[node.name],))
    _demand(node, not fault, fault)
    rw.make(op, (x.name,), node.name)


# By the names of the operator table.
COLUMN_RULES: Mapping[str, Callable[[Rewriter, Node], None]] = {
    "bucket": bucket, "hash_index": hash_index,
}  # fmt: skip

"""Text: a node of `ends.functions.DOMAIN` without a function, for ONNX has no operators for it."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.text_ops import BytePair, TokensOp, WordPiece
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.own_nodes import demand
from edgekiln.models.text.bpe_check import bpe_fault_of
from edgekiln.models.text.table_check import fault_of

_demand = partial(demand, hint="such nodes are made by `edgekiln attach`: attach the step again")


def _tokens(
    kind: type[TokensOp], fault_of: Callable[[NDArray[np.uint8]], str], rw: Rewriter, node: Node
) -> None:
    """Tokens, and where there are any."""
    found = rw.graph.constants.get(node.inputs[1]) if len(node.inputs) == 2 else None
    _demand(node, found is not None and found.dtype == "uint8", "its tables are not fixed")
    assert found is not None
    tables = found.astype(np.uint8)
    fault = fault_of(tables)
    _demand(node, not fault, fault)
    op = kind(tables=tables)
    xs = [rw.graph.tensors[name] for name in node.inputs[:1]]
    fault = op.fault(xs, [rw.graph.tensors[name] for name in node.outputs if name])
    _demand(node, all(node.outputs) and not fault, fault or "it makes no numbers")
    rw.emit(Node(op=op, inputs=node.inputs[:1], outputs=node.outputs))


# By the names of the operator table.
TEXT_RULES: Mapping[str, Callable[[Rewriter, Node], None]] = {
    "wordpiece": partial(_tokens, WordPiece, fault_of),
    "bpe": partial(_tokens, BytePair, bpe_fault_of),
}

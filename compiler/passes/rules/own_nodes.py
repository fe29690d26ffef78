"""Nodes of ours are taken as we make them, and in no other form."""

from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.runtime.errors import UnsupportedError


def demand(node: Node, holds: bool, what: str, *, hint: str) -> None:
    """Refuse a node that we do not make; `hint` says how such nodes come into a model.

    Raises:
        UnsupportedError: it does not hold; `what` says how the node is different.
    """
    if not holds:
        raise UnsupportedError(
            f"operator {onnx_op(node).domain}.{node.op.kind} ({node.name!r}): {what}", hint=hint
        )

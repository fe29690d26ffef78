"""Columns of a table become indices."""

from edgekiln.compiler.ir.column_ops import Bucket, HashIndex
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.kernels.columns import BucketKernel, HashKernel
from edgekiln.compiler.lowering.state import Lowering


def bucket(low: Lowering, node: Node, op: Bucket) -> None:
    """The buckets of numbers."""
    y = low.tensor(node.name)
    kernel = BucketKernel(elements=y.elements, edges=op.edges, dtype=y.dtype)
    low.call(node, kernel.build(low.mk))


def hash_index(low: Lowering, node: Node, op: HashIndex) -> None:
    """The hashes of whole numbers."""
    y = low.tensor(node.name)
    kernel = HashKernel(elements=y.elements, count=op.count, dtype=y.dtype)
    low.call(node, kernel.build(low.mk))

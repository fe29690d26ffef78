"""Values that are chosen among others."""

from math import prod

from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.selection_ops import OneHot, TakeAlong, TopPlaces
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.one_hot import OneHotKernel
from edgekiln.compiler.kernels.selection import TakeAlongKernel, TopPlacesKernel
from edgekiln.compiler.lowering.state import Lowering


def top_places(low: Lowering, node: Node, op: TopPlaces) -> None:
    """The places of the best values."""
    x = low.tensor(node.inputs[0])
    kernel = TopPlacesKernel(
        outer=prod(x.shape[: op.axis]), extent=x.shape[op.axis],
        inner=prod(x.shape[op.axis + 1 :]), count=op.count, dtype=x.dtype, largest=op.largest,
    )  # fmt: skip
    low.call(node, kernel.build(low.mk))


def take_along(low: Lowering, node: Node, op: TakeAlong) -> None:
    """The values at places."""
    x, places = (low.tensor(name) for name in node.inputs)
    kernel = TakeAlongKernel(
        outer=prod(x.shape[: op.axis]), extent=x.shape[op.axis],
        inner=prod(x.shape[op.axis + 1 :]), count=places.shape[op.axis], dtype=x.dtype,
    )  # fmt: skip
    low.call(node, kernel.build(low.mk))


def one_hot(low: Lowering, node: Node, op: OneHot) -> None:
    """A row for each number."""
    index, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    kernel = OneHotKernel(
        outer=prod(y.shape[: op.axis]),
        depth=y.shape[op.axis],
        inner=prod(y.shape[op.axis + 1 :]),
        on=op.on.value,
        off=op.off.value,
        dtype=y.dtype,
        index=index.dtype,
    )
    low.call(node, built(kernel, low.kernels_of(node)))

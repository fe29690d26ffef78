"""The boxes of a detector."""

from math import prod

from edgekiln.compiler.ir.detection_ops import CountRows, Detect, FillRows, Suppress
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.kernels.detections import CountKernel, DetectionsKernel, FillKernel
from edgekiln.compiler.kernels.suppression import SuppressionKernel
from edgekiln.compiler.lowering.state import Lowering


def suppress(low: Lowering, node: Node, op: Suppress) -> None:
    """Which boxes stay."""
    images, classes, boxes = low.tensor(node.inputs[1]).shape
    kernel = SuppressionKernel(
        images=images, classes=classes, boxes=boxes, most=op.most, centered=op.centered,
        overlap=op.overlap, least=op.least,
    )  # fmt: skip
    low.call(node, kernel.build(low.mk))


def detect(low: Lowering, node: Node, op: Detect) -> None:
    """What was found."""
    images, classes, boxes = low.tensor(node.inputs[1]).shape
    kernel = DetectionsKernel(
        images=images, classes=classes, boxes=boxes, most=op.most, per_class=op.per_class,
        together=op.together, overlap=op.overlap, least=op.least, place=op.place,
    )  # fmt: skip
    low.call(node, kernel.build(low.mk))


def count_rows(low: Lowering, node: Node, op: CountRows) -> None:
    """How many rows are there."""
    x = low.tensor(node.inputs[0])
    *outer, rows, width = x.shape
    kernel = CountKernel(outer=prod(outer), rows=rows, width=width, place=op.place, dtype=x.dtype)
    low.call(node, kernel.build(low.mk))


def fill_rows(low: Lowering, node: Node, op: FillRows) -> None:
    """Rows that are not there."""
    x = low.tensor(node.inputs[0])
    kernel = FillKernel(
        outer=prod(x.shape[: op.axis]), rows=x.shape[op.axis],
        inner=prod(x.shape[op.axis + 1 :]), dtype=x.dtype,
    )  # fmt: skip
    low.call(node, kernel.build(low.mk))

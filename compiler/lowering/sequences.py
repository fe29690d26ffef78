"""Sequences: of classes, and of scores from call to call."""

from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.sequence_ops import CtcCollapse, Hysteresis
from edgekiln.compiler.kernels.detections import CountKernel
from edgekiln.compiler.kernels.sequences import CtcCollapseKernel, HysteresisKernel
from edgekiln.compiler.lowering.state import Lowering


def ctc_collapse(low: Lowering, node: Node, op: CtcCollapse) -> None:
    """The symbols of a path."""
    outer, steps = low.tensor(node.inputs[0]).shape
    kernel = CtcCollapseKernel(outer=outer, steps=steps, blank=op.blank)
    low.call(node, kernel.build(low.mk))


def count_symbols(low: Lowering, node: Node) -> None:
    """How many there are."""
    outer, steps = low.tensor(node.inputs[0]).shape
    kernel = CountKernel(outer=outer, rows=steps, width=1, place=0, dtype="int64")
    low.call(node, kernel.build(low.mk))


def hysteresis(low: Lowering, node: Node, op: Hysteresis) -> None:
    """What decisions leave for the next call."""
    elements = low.tensor(node.inputs[0]).elements
    kernel = HysteresisKernel(elements=elements, on=op.on, off=op.off, steps=op.steps)
    low.call(node, kernel.build(low.mk))

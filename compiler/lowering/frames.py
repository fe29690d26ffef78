"""Camera frames, on the bytes of the program's input."""

from math import prod

from edgekiln.compiler.ir.frame_ops import Resample, YuvToPixels
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import ChannelLookup
from edgekiln.compiler.kernels.frames import ChannelLookupKernel, ResampleKernel, YuvKernel
from edgekiln.compiler.kernels.types import in_rows
from edgekiln.compiler.lowering.state import Lowering


def resample(low: Lowering, node: Node, op: Resample) -> None:
    """One axis of a picture."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    kernel = ResampleKernel(
        outer=prod(x.shape[: op.axis]), before=x.shape[op.axis],
        inner=prod(x.shape[op.axis + 1 :]), by=op.by, x=x.nhwc(), y=y.nhwc(),
    )  # fmt: skip
    low.call(node, kernel.build(low.mk))


def yuv(low: Lowering, node: Node, op: YuvToPixels) -> None:
    """All pixels of a frame."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    kernel = YuvKernel(n=x.shape[0], frame=op.frame, channels=op.channels, y=y.nhwc())
    low.call(node, kernel.build(low.mk))


def channel_lookup(low: Lowering, node: Node, op: ChannelLookup) -> None:
    """A table of 256 entries for each channel."""
    x, y = in_rows(low.tensor(node.inputs[0]).nhwc(), low.tensor(node.name).nhwc())
    low.call(node, ChannelLookupKernel(x=x, y=y, table=op.table.entries).build(low.mk))

"""Operations by TFLite's arithmetic."""

import numpy as np

from edgekiln.compiler.ir.fixed_ops import (
    FixedAveragePool,
    FixedBinary,
    FixedMean,
    FixedSoftmax,
)  # fmt: skip
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.kernels.binary import BinaryKernel
from edgekiln.compiler.kernels.fixed_arithmetic import FixedArithmetic
from edgekiln.compiler.kernels.fixed_pool import AwayPoolKernel, FixedMeanKernel
from edgekiln.compiler.kernels.fixed_softmax import FixedSoftmaxKernel
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.types import in_rows
from edgekiln.compiler.lowering.compute import window_counts
from edgekiln.compiler.lowering.state import Lowering


def binary(low: Lowering, node: Node, op: FixedBinary) -> None:
    """A sum, a product … of two tensors, the second maybe broadcast over the image."""
    a, b, y = in_rows(*(low.tensor(name).nhwc() for name in (*node.inputs, node.name)))
    finish = FixedArithmetic(function=op.function, factors=op.factors, clip=op.finish.limits)
    kernel = BinaryKernel(kind=op.function, a=a, b=b, y=y, finish=finish)
    low.call(node, built(kernel, low.kernels_of(node)))


def average_pool(low: Lowering, node: Node, op: FixedAveragePool) -> None:
    """The mean of what is inside the image of each window."""
    x, y, window = low.tensor(node.inputs[0]).nhwc(), low.tensor(node.name).nhwc(), op.window
    # A window counts the same columns in each row, so its taps are a product.
    counts = (
        window_counts(window, axis, *sizes) for axis, sizes in enumerate(((x.h, y.h), (x.w, y.w)))
    )
    kernel = AwayPoolKernel(
        x=x, y=y, kernel=window.kernel, strides=window.strides, counts=np.outer(*counts),
        pads=window.pads[:2], clip=op.finish.limits, origin=int(op.origin.value),
    )  # fmt: skip
    low.call(node, built(kernel, low.kernels_of(node)))


def mean(low: Lowering, node: Node, op: FixedMean) -> None:
    """One window, as large as the image."""
    x, y = low.tensor(node.inputs[0]).nhwc(), low.tensor(node.name).nhwc()
    kernel = FixedMeanKernel(
        x=x, y=y, kernel=(x.h, x.w), strides=(1, 1), counts=np.ones((1, 1), np.int64),
        clip=op.finish.limits, factor=op.factor,
    )  # fmt: skip
    low.call(node, built(kernel, low.kernels_of(node)))


def softmax(low: Lowering, node: Node, op: FixedSoftmax) -> None:
    """Softmax over the last axis."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    kernel = FixedSoftmaxKernel(
        x=x.nhwc(), y=y.nhwc(), count=x.shape[-1], powers=op.powers, lowest=int(op.lowest.value)
    )
    low.call(node, built(kernel, low.kernels_of(node)))

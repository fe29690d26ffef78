"""Convolutions and dense layers, of codes and of floats."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.linear import Conv2d, Dense
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.ir.window import Window
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.conv2d.nested import NestedConvolutionKernel, nested
from edgekiln.compiler.kernels.conv2d.paired import PairedConvolutionKernel, cheapest
from edgekiln.compiler.kernels.conv2d.plan import DirectPlan
from edgekiln.compiler.kernels.depthwise.kernel import DepthwiseKernel
from edgekiln.compiler.kernels.depthwise.paired import in_pairs
from edgekiln.compiler.kernels.epilogue.sums import ResidualOperand
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.lowering import fourier
from edgekiln.compiler.lowering.finish import finish_of, in_integers
from edgekiln.compiler.lowering.state import Lowering

_Weight = NDArray[np.int8] | NDArray[np.float32]
_Bias = NDArray[np.int32] | NDArray[np.float32]
K = TypeVar("K", ConvolutionKernel, DepthwiseKernel)


def conv2d(low: Lowering, node: Node, op: Conv2d) -> None:
    """A convolution, depthwise where each channel has a filter of its own."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    # Each result takes one product a weight of its filter.
    macs = y.elements * prod(op.weight.shape[1:])
    residual = _residual(op, low.tensor(node.inputs[1])) if op.residual else None
    if op.groups == len(op.weight) == x.nhwc().c > 1:
        mk = low.kernels_of(node)
        kernel = in_integers(_kernel(DepthwiseKernel, op, x, y, residual), mk)
        depthwise = low.tuned(node, in_pairs(kernel, mk))
        low.call(node, built(depthwise, mk), op="depthwise_conv2d", macs=macs)
    elif transform := fourier.of_frames(low, node, op):
        low.call(
            node, built(transform, low.kernels_of(node)), op="fourier", macs=transform.products
        )
    else:
        make = partial(ConvolutionKernel, groups=op.groups, compact=low.compact)
        convolution = _best(low, node, _kernel(make, op, x, y, residual))
        low.call(node, built(convolution, low.kernels_of(node)), macs=macs)


def dense(low: Lowering, node: Node, op: Dense) -> None:
    """A 1×1 convolution whose pixels are the rows of a matrix."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    channels, features = op.weight.shape
    if transform := fourier.of_rows(low, node, op):
        low.call(
            node, built(transform, low.kernels_of(node)), op="fourier", macs=transform.products
        )
        return
    rows = x.elements // features
    residual = None
    if op.residual:
        residual = _residual(op, _as_matrix(low.tensor(node.inputs[1]), rows, channels))
    one_tap = Conv2d(
        # (OC, IC) → (OC, IC, 1, 1)
        weight=op.weight[:, :, None, None],
        bias=op.bias,
        mult=op.mult,
        finish=op.finish,
        window=Window(kernel=(1, 1)),
    )
    of_x, of_y = _as_matrix(x, rows, features), _as_matrix(y, rows, channels)
    kernel = _best(low, node, _kernel(ConvolutionKernel, one_tap, of_x, of_y, residual))
    low.call(node, built(kernel, low.kernels_of(node)), macs=rows * channels * features)


def _best(
    low: Lowering, node: Node, kernel: ConvolutionKernel
) -> ConvolutionKernel | PairedConvolutionKernel | NestedConvolutionKernel:
    """The kernel inside of a wider point's, where there is one; else in the form that suits its
    weights, with its tile.
    """
    mk = low.kernels_of(node)
    kernel = in_integers(kernel, mk)
    if low.wider and (inside := nested(kernel, low.wider.kernels, mk)):
        return inside
    if low.wider and low.compact:
        # Other points can read the weights only where they lie as they are.
        kernel = replace(kernel, tile=DirectPlan(kernel, mk.products).ranked[0][1])
        low.wider.kernels.append(kernel)
        return kernel
    # Other points read the weights as bytes.
    small = kernel if low.wider else kernel.in_four_bits(mk)
    chosen = low.tuned(node, small if small.narrow else cheapest(kernel, mk))
    if low.wider and isinstance(chosen, ConvolutionKernel):
        low.wider.kernels.append(chosen)
    return chosen


def _as_matrix(tensor: Tensor, rows: int, features: int) -> Tensor:
    """The same bytes as (1, rows, features)."""
    return replace(tensor, shape=(1, rows, features), layout="plain")


def _residual(op: Conv2d | Dense, other: Tensor) -> ResidualOperand | None:
    residual = op.residual
    assert residual is not None
    limits = residual.conv_finish.limits
    # Floats are added as they are; codes are rounded to the convolution's own scale first.
    if residual.conv_quant is None:
        return ResidualOperand(tensor=other.nhwc(), clip=limits)
    return ResidualOperand(
        tensor=other.nhwc(),
        scale=residual.conv_quant.scale,
        zero_point=residual.conv_quant.zero_point,
        clip=limits,
    )


def _kernel(
    make: Callable[..., K], op: Conv2d, x: Tensor, y: Tensor, residual: ResidualOperand | None
) -> K:
    """The kernel of a convolution; `make` builds one from what all have."""
    weight, bias = _constants(op)
    return make(
        x=x.nhwc(),
        y=y.nhwc(),
        weight=weight,
        bias=bias,
        finish=finish_of(op.finish, op.mult),
        strides=op.window.strides,
        dilations=op.window.dilations,
        # Top and left; what lies beyond the bottom and right follows from the extents of y.
        pads=op.window.pads[:2],
        residual=residual,
    )


def _constants(op: Conv2d) -> tuple[_Weight, _Bias]:
    """Weights and bias in the types of what they are multiplied with, and summed to."""
    if op.mult is None:
        return np.asarray(op.weight, np.float32), np.asarray(op.bias, np.float32)
    return np.asarray(op.weight, np.int8), np.asarray(op.bias, np.int32)

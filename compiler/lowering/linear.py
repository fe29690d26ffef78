"""Convolutions and dense layers, of codes and of floats."""

from dataclasses import replace
from math import prod

import numpy as np

from edgekiln.compiler.ir.linear import Conv2d, Dense
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.ir.window import Window
from edgekiln.compiler.kernels.conv2d import Conv2d as IntConv2d
from edgekiln.compiler.kernels.depthwise import Depthwise2d
from edgekiln.compiler.kernels.epilogue import Residual
from edgekiln.compiler.kernels.float_conv2d import FloatConv2d
from edgekiln.compiler.kernels.float_depthwise import FloatDepthwise2d
from edgekiln.compiler.lowering.finish import float_clip, function_of, int_clip
from edgekiln.compiler.lowering.state import Lowering


def conv2d(low: Lowering, node: Node, op: Conv2d) -> None:
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    macs = y.elements * prod(op.weight.shape[1:])
    residual = _residual(op, low.tensor(node.inputs[1])) if op.residual else None
    if op.groups == len(op.weight) == x.nhwc().c > 1 and not op.dequantizes:
        depthwise = low.tuned(node, _depthwise(op, x, y, residual))
        low.call(node, depthwise.build(low.kernels_of(node)), op="depthwise_conv2d", macs=macs)
    else:
        convolution = low.tuned(node, _convolution(op, x, y, residual, low.compact))
        low.call(node, convolution.build(low.kernels_of(node)), macs=macs)


def dense(low: Lowering, node: Node, op: Dense) -> None:
    """A 1×1 convolution whose pixels are the rows of a matrix."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    channels, features = op.weight.shape
    rows = x.elements // features
    residual = None
    if op.residual:
        residual = _residual(op, _as_matrix(low.tensor(node.inputs[1]), rows, channels))
    one_tap = Conv2d(
        weight=op.weight[:, :, None, None],
        bias=op.bias,
        mult=op.mult,
        finish=op.finish,
        window=Window(kernel=(1, 1)),
    )
    of_x, of_y = _as_matrix(x, rows, features), _as_matrix(y, rows, channels)
    kernel = low.tuned(node, _convolution(one_tap, of_x, of_y, residual))
    low.call(node, kernel.build(low.kernels_of(node)), macs=rows * channels * features)


def _as_matrix(tensor: Tensor, rows: int, features: int) -> Tensor:
    """The same bytes as (1, rows, features)."""
    return replace(tensor, shape=(1, rows, features), layout="plain")


def _residual(op: Conv2d | Dense, other: Tensor) -> Residual | None:
    residual = op.residual
    assert residual is not None
    if residual.conv_quant is None:
        return Residual(tensor=other.nhwc(), clip=float_clip(residual.conv_finish))
    return Residual(
        tensor=other.nhwc(),
        scale=residual.conv_quant.scale,
        zero_point=residual.conv_quant.zero_point,
        clip=int_clip(residual.conv_finish),
    )


def _convolution(
    op: Conv2d, x: Tensor, y: Tensor, residual: Residual | None, compact: bool = False
) -> IntConv2d | FloatConv2d:
    """The kernel of any convolution."""
    window = op.window
    if op.mult is None:
        return FloatConv2d(
            x=x.nhwc(),
            y=y.nhwc(),
            weight=np.asarray(op.weight, np.float32),
            bias=np.asarray(op.bias, np.float32),
            strides=window.strides,
            dilations=window.dilations,
            pads=window.pads[:2],
            groups=op.groups,
            clip=float_clip(op.finish),
            residual=residual,
            function=function_of(op.finish),
            compact=compact,
        )
    return IntConv2d(
        x=x.nhwc(),
        y=y.nhwc(),
        weight=np.asarray(op.weight, np.int8),
        bias=np.asarray(op.bias, np.int32),
        mult=op.mult,
        strides=window.strides,
        dilations=window.dilations,
        pads=window.pads[:2],
        groups=op.groups,
        clip=int_clip(op.finish),
        residual=residual,
        compact=compact,
    )


def _depthwise(
    op: Conv2d, x: Tensor, y: Tensor, residual: Residual | None
) -> Depthwise2d | FloatDepthwise2d:
    """The kernel of a convolution of each channel by itself."""
    window = op.window
    if op.mult is None:
        return FloatDepthwise2d(
            x=x.nhwc(),
            y=y.nhwc(),
            weight=np.asarray(op.weight, np.float32),
            bias=np.asarray(op.bias, np.float32),
            strides=window.strides,
            dilations=window.dilations,
            pads=window.pads[:2],
            clip=float_clip(op.finish),
            residual=residual,
            function=function_of(op.finish),
        )
    return Depthwise2d(
        x=x.nhwc(),
        y=y.nhwc(),
        weight=np.asarray(op.weight, np.int8),
        bias=np.asarray(op.bias, np.int32),
        mult=op.mult,
        strides=window.strides,
        dilations=window.dilations,
        pads=window.pads[:2],
        clip=int_clip(op.finish),
        residual=residual,
    )

"""Operations that compute: convolution, dense, elementwise, pools, and the float edge."""

from dataclasses import replace
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.graph import Node, Tensor
from edgekiln.compiler.ir.memory import F32, Nhwc
from edgekiln.compiler.kernels.binary import Binary, factors
from edgekiln.compiler.kernels.conv2d.kernel import Convolution
from edgekiln.compiler.kernels.convert import Dequantize, Quantize
from edgekiln.compiler.kernels.depthwise.kernel import Depthwise
from edgekiln.compiler.kernels.epilogue.finish import Requantize
from edgekiln.compiler.kernels.epilogue.sums import Residual
from edgekiln.compiler.kernels.pool import AveragePool, MaxPool
from edgekiln.compiler.kernels.types import in_rows
from edgekiln.compiler.kernels.unary import Lookup
from edgekiln.compiler.lowering.state import Lowering


def float_like(shape: tuple[int, ...], like: Tensor) -> F32:
    """A float tensor in ONNX's order, seen with the axes of its quantized counterpart."""
    memory = like.nhwc()
    layout: Literal["NCHW", "NHWC"] = "NCHW" if like.layout == "NHWC" else "NHWC"
    assert prod(shape) == like.elements
    return F32(n=memory.n, h=memory.h, w=memory.w, c=memory.c, layout=layout)


def quantize(low: Lowering, node: Node) -> None:
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    source = float_like(x.shape, y)
    if node.attrs.get("channels_last"):
        source = F32(n=source.n, h=source.h, w=source.w, c=source.c)
    codes, floats = _one_order(y.nhwc(), source)
    low.call(node, Quantize(x=floats, y=codes).build(low.mk))


def dequantize(low: Lowering, node: Node) -> None:
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    codes, floats = _one_order(x.nhwc(), float_like(y.shape, x))
    low.call(node, Dequantize(x=codes, y=floats).build(low.mk))


def _one_order(codes: Nhwc, floats: F32) -> tuple[Nhwc, F32]:
    """Both `in_rows` where their elements come in one order; as they are where they do not."""
    if floats.layout == "NCHW" and codes.c > 1:
        return codes, floats
    (rows,) = in_rows(codes)
    return rows, F32(n=rows.n, h=rows.h, w=rows.w, c=rows.c)


def conv2d(low: Lowering, node: Node) -> None:
    attrs = node.attrs
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    weight = attrs["weight"]
    residual = None
    if "own" in attrs:
        residual = Residual(
            tensor=low.tensor(node.inputs[1]).nhwc(),
            scale=attrs["own"].scale,
            zero_point=attrs["own"].zero_point,
            clip=(attrs["own_lo"], attrs["own_hi"]),
        )
    common: dict[str, Any] = {
        "x": x.nhwc(),
        "y": y.nhwc(),
        "weight": weight,
        "bias": attrs["bias"],
        "finish": Requantize(mult=attrs["mult"]),
        "strides": attrs["strides"],
        "dilations": attrs["dilations"],
        "pads": attrs["pads"][:2],
        "residual": residual,
    }
    if y.quant is not None:
        clip = (attrs["lo"], attrs["hi"])
        common["finish"] = Requantize(mult=attrs["mult"], clip=clip)
    macs = y.elements * prod(weight.shape[1:])
    one_each = attrs["groups"] == weight.shape[0] == x.nhwc().c > 1
    if one_each and y.quant is not None:
        depthwise = low.tuned(node, Depthwise(**common))
        low.call(node, depthwise.build(low.mk), op="depthwise_conv2d", macs=macs)
    else:
        kernel = low.tuned(node, Convolution(groups=attrs["groups"], compact=low.compact, **common))
        low.call(node, kernel.build(low.mk), macs=macs)


def dense(low: Lowering, node: Node) -> None:
    """A 1×1 convolution whose pixels are the rows of a matrix."""
    attrs = node.attrs
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    channels, features = attrs["weight"].shape
    rows = x.elements // features
    kernel = Convolution(
        x=as_matrix(x, rows, features).nhwc(),
        y=as_matrix(y, rows, channels).nhwc(),
        weight=attrs["weight"][:, :, None, None],
        bias=attrs["bias"],
        finish=Requantize(mult=attrs["mult"], clip=(attrs.get("lo", 0), attrs.get("hi", 0))),
    )
    low.call(node, low.tuned(node, kernel).build(low.mk), macs=rows * channels * features)


def as_matrix(tensor: Tensor, rows: int, features: int) -> Tensor:
    """The same bytes as (1, rows, features)."""
    return replace(tensor, shape=(1, rows, features), layout="plain")


def binary(low: Lowering, node: Node) -> None:
    a, b, y = in_rows(*(low.tensor(name).nhwc() for name in (*node.inputs, node.name)))
    kind = node.op.capitalize()
    clip = (node.attrs["lo"], node.attrs["hi"])
    finish = Requantize(mult=factors(kind, a, b, y), clip=clip)
    kernel = Binary(kind=kind, a=a, b=b, y=y, finish=finish)
    low.call(node, kernel.build(low.mk))


def table(low: Lowering, node: Node) -> None:
    x, y = in_rows(low.tensor(node.inputs[0]).nhwc(), low.tensor(node.name).nhwc())
    low.call(node, Lookup(x=x, y=y, table=node.attrs["table"]).build(low.mk))


def max_pool(low: Lowering, node: Node) -> None:
    x, y, attrs = low.tensor(node.inputs[0]), low.tensor(node.name), node.attrs
    kernel = MaxPool(
        x=x.nhwc(),
        y=y.nhwc(),
        kernel=attrs["kernel"],
        strides=attrs["strides"],
        dilations=attrs["dilations"],
        pads=attrs["pads"][:2],
    )
    low.call(node, kernel.build(low.mk))


def avg_pool(low: Lowering, node: Node) -> None:
    x, y, attrs = low.tensor(node.inputs[0]).nhwc(), low.tensor(node.name).nhwc(), node.attrs
    counts = (_window_counts(node, 0, x.h, y.h), _window_counts(node, 1, x.w, y.w))
    kernel = AveragePool(
        x=x,
        y=y,
        kernel=attrs["kernel"],
        strides=attrs["strides"],
        counts=np.outer(*counts),
        pads=attrs["pads"][:2],
        clip=(attrs["lo"], attrs["hi"]),
    )
    low.call(node, kernel.build(low.kernels_of(node)))


def _window_counts(node: Node, axis: int, extent: int, out: int) -> NDArray[np.int64]:
    """How many taps of each window on one axis count, as ONNX's AveragePool says."""
    attrs = node.attrs
    before, after = attrs["pads"][axis], attrs["pads"][axis + 2]
    low, high = (-before, extent + after) if attrs["count_include_pad"] else (0, extent)
    first = np.arange(out) * attrs["strides"][axis] - before
    counts: NDArray[np.int64] = np.minimum(first + attrs["kernel"][axis], high) - np.maximum(
        first, low
    )
    return counts


def global_avg_pool(low: Lowering, node: Node) -> None:
    x, y, attrs = low.tensor(node.inputs[0]).nhwc(), low.tensor(node.name).nhwc(), node.attrs
    kernel = AveragePool(
        x=x,
        y=y,
        kernel=(x.h, x.w),
        strides=(1, 1),
        counts=np.array([[x.h * x.w]]),
        clip=(attrs["lo"], attrs["hi"]),
    )
    low.call(node, kernel.build(low.kernels_of(node)))

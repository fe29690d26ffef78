"""Layers of one shape share their code: zero points, clips and scales are data."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edgekiln.compiler.ir.memory import F32, Halo, Nhwc
from edgekiln.compiler.kernels.binary import Binary, Table
from edgekiln.compiler.kernels.conv2d.kernel import Conv2d
from edgekiln.compiler.kernels.convert import Dequantize, Quantize
from edgekiln.compiler.kernels.copy import Copy
from edgekiln.compiler.kernels.depthwise.kernel import Depthwise2d
from edgekiln.compiler.kernels.epilogue.requantize import Residual
from edgekiln.compiler.kernels.layer_norm import LayerNorm, Softmax
from edgekiln.compiler.kernels.pool import AveragePool, MaxPool
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets import isa
from edgekiln.targets.isa.base import MicroKernel

Build = Callable[[MicroKernel, Nhwc, Nhwc], Kernel]


def conv2d(mk: MicroKernel, x: Nhwc, y: Nhwc) -> Kernel:
    own = Residual(tensor=x, scale=x.scale, zero_point=x.zero_point, clip=(x.zero_point, 255))
    return Conv2d(
        x=x, y=y, weight=np.full((16, 16, 1, 1), x.zero_point, np.int8),
        bias=np.full(16, x.zero_point, np.int32), mult=np.full(16, x.scale, np.float32),
        clip=(x.zero_point, 255), residual=own,
    ).build(mk)  # fmt: skip


def depthwise(mk: MicroKernel, x: Nhwc, y: Nhwc) -> Kernel:
    return Depthwise2d(
        x=x, y=y, weight=np.full((16, 1, 1, 1), x.zero_point, np.int8),
        bias=np.full(16, x.zero_point, np.int32), mult=np.full(16, x.scale, np.float32),
        clip=(x.zero_point, 255),
    ).build(mk)  # fmt: skip


def quantize(mk: MicroKernel, x: Nhwc, y: Nhwc) -> Kernel:
    return Quantize(x=F32(n=x.n, h=x.h, w=x.w, c=x.c), y=y).build(mk)


def dequantize(mk: MicroKernel, x: Nhwc, y: Nhwc) -> Kernel:
    return Dequantize(x=x, y=F32(n=y.n, h=y.h, w=y.w, c=y.c)).build(mk)


def requantize(mk: MicroKernel, x: Nhwc, y: Nhwc) -> Kernel:
    strides = (x.image, x.row, x.c, 1)
    return Copy(
        shape=(x.n, x.h, x.w, x.c), x=x, y=y, x_strides=strides,
        y_strides=(y.image, y.row, y.c, 1), y_offset=y.index(0, 0, 0, 0), clip=(x.zero_point, 255),
    ).build(mk)  # fmt: skip


def pad(mk: MicroKernel, x: Nhwc, y: Nhwc) -> Kernel:
    return Copy(
        shape=(2, 16), x=x, y=replace(y, scale=x.scale), x_strides=(x.row, 1),
        y_strides=(y.row, 1), fill=x.zero_point,
    ).build(mk)  # fmt: skip


def add(mk: MicroKernel, x: Nhwc, y: Nhwc) -> Kernel:
    return Binary(kind="add", a=x, b=x, y=y, clip=(x.zero_point, 255)).build(mk)


def table(mk: MicroKernel, x: Nhwc, y: Nhwc) -> Kernel:
    return Table(x=x, y=y, table=np.full(256, x.zero_point, np.uint8)).build(mk)


def max_pool(mk: MicroKernel, x: Nhwc, y: Nhwc) -> Kernel:
    return MaxPool(x=x, y=y, kernel=(1, 1), strides=(1, 1)).build(mk)


def average_pool(mk: MicroKernel, x: Nhwc, y: Nhwc) -> Kernel:
    return AveragePool(
        x=x, y=y, kernel=(1, 1), strides=(1, 1), counts=np.ones((8, 8), np.int64),
        clip=(x.zero_point, 255),
    ).build(mk)  # fmt: skip


def softmax(mk: MicroKernel, x: Nhwc, y: Nhwc) -> Kernel:
    return Softmax(x=x, y=y, count=16, clip=(x.zero_point, 255)).build(mk)


def layer_norm(mk: MicroKernel, x: Nhwc, y: Nhwc) -> Kernel:
    gamma = np.full(16, x.scale, np.float32)
    return LayerNorm(x=x, y=y, gamma=gamma, beta=gamma, epsilon=x.scale, clip=(0, 255)).build(mk)


@pytest.mark.parametrize(
    "build",
    [
        conv2d, depthwise, quantize, dequantize, requantize, pad, add, table, max_pool,
        average_pool, softmax, layer_norm,
    ],
    ids=lambda build: build.__name__,
)  # fmt: skip
def test_layers_of_one_shape_share_their_code(build: Build) -> None:
    import tvm_ffi

    mk = isa.load("x86_vnni")
    kernels = []
    for zero, scale in ((3, 0.125), (100, 0.25)):
        x = Nhwc(n=1, h=8, w=8, c=16, dtype="uint8", scale=scale, zero_point=zero)
        border = Halo(top=1, left=1, bottom=1, right=1)
        y = replace(x, scale=2 * scale + 1, zero_point=zero + 1, halo=border)
        kernels.append(build(mk, x, y))
    assert tvm_ffi.structural_equal(kernels[0].func, kernels[1].func)

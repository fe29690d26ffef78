"""Layers of one shape share their code: zero points, clips and scales are data.

A kernel's code is made of a kernel whose numbers are erased. These tests look at what is made of
the numbers themselves: it must be that code, or a layer would run another layer's program.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.ir.function import FunctionStep
from edgekiln.compiler.ir.memory import Halo, Nhwc
from edgekiln.compiler.kernels.binary import BinaryKernel, factors
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.convert import DequantizeKernel, QuantizeKernel
from edgekiln.compiler.kernels.copy import CopyKernel
from edgekiln.compiler.kernels.depthwise.kernel import DepthwiseKernel
from edgekiln.compiler.kernels.epilogue.finish import (
    ActivationFinish,
    RequantizeFinish,
    SumsFinish,
)
from edgekiln.compiler.kernels.epilogue.sums import ResidualOperand
from edgekiln.compiler.kernels.finish_sums import (
    ColumnSumsKernel,
    FinishSumsKernel,
    Operand,
    Scaling,
)
from edgekiln.compiler.kernels.frames import ChannelLookupKernel
from edgekiln.compiler.kernels.interleave import InterleaveKernel
from edgekiln.compiler.kernels.layer_norm import LayerNormKernel
from edgekiln.compiler.kernels.matmul.kernel import MatMulKernel
from edgekiln.compiler.kernels.one_hot import OneHotKernel
from edgekiln.compiler.kernels.pool import AveragePoolKernel, MaxPoolKernel
from edgekiln.compiler.kernels.ranged_codes import RangedQuantizeKernel, RecodeKernel
from edgekiln.compiler.kernels.sharing import Shareable
from edgekiln.compiler.kernels.softmax import SoftmaxKernel
from edgekiln.compiler.kernels.unary import LookupKernel
from edgekiln.targets import isa
from tests.compiler.kernels.recurrent_layers import recurrent
from tests.compiler.kernels.test_matmul import stacked

CODES, FLOATS = "x86_vnni", "x86_avx512_f32"
CHANNELS = 16

# A kernel from x to y whose other numbers follow from theirs.
Layer = Callable[[Nhwc, Nhwc], Shareable]


def requantize(x: Nhwc) -> RequantizeFinish:
    return RequantizeFinish(mult=np.full(CHANNELS, x.scale, np.float32), clip=(x.zero_point, 255))


def conv2d(x: Nhwc, y: Nhwc) -> Shareable:
    own = ResidualOperand(
        tensor=x, scale=x.scale, zero_point=x.zero_point, clip=(x.zero_point, 255)
    )
    return ConvolutionKernel(
        x=x, y=y, weight=np.full((CHANNELS, CHANNELS, 1, 1), x.zero_point, np.int8),
        bias=np.full(CHANNELS, x.zero_point, np.int32), finish=requantize(x), residual=own,
    )  # fmt: skip


def depthwise(x: Nhwc, y: Nhwc) -> Shareable:
    return DepthwiseKernel(
        x=x, y=y, weight=np.full((CHANNELS, 1, 1, 1), x.zero_point, np.int8),
        bias=np.full(CHANNELS, x.zero_point, np.int32), finish=requantize(x),
    )  # fmt: skip


def matmul(x: Nhwc, y: Nhwc) -> Shareable:
    square = stacked((), CHANNELS, CHANNELS, transposed=False)
    return MatMulKernel(
        batch=(), m=CHANNELS, k=CHANNELS, n=CHANNELS, a=square, b=square, y=square,
        result=replace(y, n=1, h=1, w=CHANNELS, halo=Halo()),
        zero_points=(x.zero_point, x.zero_point + 1),
        finish=RequantizeFinish(mult=np.array([x.scale], np.float32), clip=(x.zero_point, 255)),
    )  # fmt: skip


def quantize(x: Nhwc, y: Nhwc) -> Shareable:
    return QuantizeKernel(x=Nhwc(n=x.n, h=x.h, w=x.w, c=x.c, dtype="float32"), y=y)


def dequantize(x: Nhwc, y: Nhwc) -> Shareable:
    return DequantizeKernel(x=x, y=Nhwc(n=y.n, h=y.h, w=y.w, c=y.c, dtype="float32"))


def rescale(x: Nhwc, y: Nhwc) -> Shareable:
    strides = (x.image, x.row, x.c, 1)
    return CopyKernel(
        shape=(x.n, x.h, x.w, x.c), x=x, y=y, x_strides=strides,
        y_strides=(y.image, y.row, y.c, 1), y_offset=y.index(0, 0, 0, 0), clip=(x.zero_point, 255),
    )  # fmt: skip


def pad(x: Nhwc, y: Nhwc) -> Shareable:
    return CopyKernel(
        shape=(2, CHANNELS), x=x, y=replace(y, scale=x.scale), x_strides=(x.row, 1),
        y_strides=(y.row, 1), fill=x.zero_point,
    )  # fmt: skip


def one_hot(x: Nhwc, y: Nhwc) -> Shareable:
    codes = {"on": x.zero_point, "off": y.zero_point}
    return OneHotKernel(outer=4, depth=9, inner=1, dtype="uint8", index="int32", **codes)


def interleave(x: Nhwc, y: Nhwc) -> Shareable:
    table = np.full(256, x.zero_point, np.uint8)
    # The zero point of its border is in the code, and in the signature.
    y = replace(y, zero_point=0)
    return InterleaveKernel(xs=(x, x), y=y, starts=(0, CHANNELS // 2), tables=(None, table))


def add(x: Nhwc, y: Nhwc) -> Shareable:
    finish = RequantizeFinish(mult=factors("Add", x, x, y), clip=(x.zero_point, 255))
    return BinaryKernel(kind="Add", a=x, b=x, y=y, finish=finish)


def multiply(x: Nhwc, y: Nhwc) -> Shareable:
    finish = RequantizeFinish(mult=factors("Mul", x, x, y), clip=(x.zero_point, 255))
    return BinaryKernel(kind="Mul", a=x, b=x, y=y, finish=finish)


def divide(x: Nhwc, y: Nhwc) -> Shareable:
    finish = RequantizeFinish(mult=factors("Div", x, x, y), clip=(x.zero_point, 255))
    return BinaryKernel(kind="Div", a=x, b=x, y=y, finish=finish)


def lookup(x: Nhwc, y: Nhwc) -> Shareable:
    return LookupKernel(x=x, y=y, table=np.full(256, x.zero_point, np.uint8))


def channel_lookup(x: Nhwc, y: Nhwc) -> Shareable:
    return ChannelLookupKernel(x=x, y=y, table=np.full((CHANNELS, 256), x.zero_point, np.uint8))


def max_pool(x: Nhwc, y: Nhwc) -> Shareable:
    return MaxPoolKernel(x=x, y=y, kernel=(1, 1), strides=(1, 1))


def average_pool(x: Nhwc, y: Nhwc) -> Shareable:
    return AveragePoolKernel(
        x=x, y=y, kernel=(1, 1), strides=(1, 1), counts=np.full((8, 8), 1 + x.zero_point),
        clip=(x.zero_point, 255),
    )  # fmt: skip


def softmax(x: Nhwc, y: Nhwc) -> Shareable:
    return SoftmaxKernel(x=x, y=y, count=CHANNELS, clip=(x.zero_point, 255))


def layer_norm(x: Nhwc, y: Nhwc) -> Shareable:
    gamma = np.full(CHANNELS, x.scale, np.float32)
    return LayerNormKernel(x=x, y=y, gamma=gamma, beta=gamma, epsilon=x.scale, clip=(0, 255))


def keep_sums(x: Nhwc, y: Nhwc) -> Shareable:
    return ConvolutionKernel(
        x=x, y=replace(y, dtype="int32", halo=Halo()), finish=SumsFinish(),
        weight=np.full((CHANNELS, CHANNELS, 1, 1), x.zero_point, np.int8),
        bias=np.full(CHANNELS, x.zero_point, np.int32),
    )  # fmt: skip


def finish_sums(x: Nhwc, y: Nhwc) -> Shareable:
    each = np.full(CHANNELS, x.scale, np.float32)
    return FinishSumsKernel(
        sums=replace(x, dtype="int32"), y=replace(y, dtype="float32"),
        row_sums=Operand(elements=64, pixel=1), columns=np.full(CHANNELS, x.zero_point, np.int32),
        shifts=np.full(CHANNELS, x.zero_point, np.int32),
        scaling=Scaling(mult=each, bias=each, clip=(-x.scale, float("inf"))),
    )  # fmt: skip


def sum_columns(x: Nhwc, y: Nhwc) -> Shareable:
    del y
    return ColumnSumsKernel(
        matrices=1, k=8, n=CHANNELS, dtype=x.dtype, origin=x.zero_point,
        zeros=np.full(CHANNELS, x.zero_point, np.int32),
    )  # fmt: skip


def ranged_quantize(x: Nhwc, y: Nhwc) -> Shareable:
    return RangedQuantizeKernel(x=replace(x, dtype="float32"), y=y)


def recode(x: Nhwc, y: Nhwc) -> Shareable:
    return RecodeKernel(count=x.elements, x=x.dtype, y=y.dtype, by=x.zero_point)


OF_CODES = [
    conv2d, depthwise, matmul, quantize, dequantize, rescale, pad, interleave, add, multiply,
    divide, lookup, channel_lookup, max_pool, average_pool, softmax, layer_norm, keep_sums,
    one_hot, finish_sums, sum_columns, ranged_quantize, recode, recurrent,
]  # fmt: skip


# Floats stand for themselves: what a scale gives here are their other numbers.
def float_finish(x: Nhwc) -> ActivationFinish:
    return ActivationFinish(clip=(-x.scale, x.scale), function=(FunctionStep("Mul", (0, 2.0)),))


def float_conv2d(x: Nhwc, y: Nhwc) -> Shareable:
    own = ResidualOperand(tensor=x.unscaled, clip=(-x.scale, float("inf")))
    return ConvolutionKernel(
        x=x.unscaled, y=y.unscaled, weight=np.full((CHANNELS, CHANNELS, 1, 1), x.scale, np.float32),
        bias=np.full(CHANNELS, x.scale, np.float32), finish=float_finish(x), residual=own,
    )  # fmt: skip


def float_depthwise(x: Nhwc, y: Nhwc) -> Shareable:
    return DepthwiseKernel(
        x=x.unscaled, y=y.unscaled, weight=np.full((CHANNELS, 1, 1, 1), x.scale, np.float32),
        bias=np.full(CHANNELS, x.scale, np.float32), finish=float_finish(x),
    )  # fmt: skip


def float_matmul(x: Nhwc, y: Nhwc) -> Shareable:
    square = stacked((), CHANNELS, CHANNELS, transposed=False)
    return MatMulKernel(
        batch=(), m=CHANNELS, k=CHANNELS, n=CHANNELS, a=square, b=square, y=square,
        result=replace(y.unscaled, h=1, w=CHANNELS, halo=Halo()), finish=float_finish(x),
    )  # fmt: skip


def float_add(x: Nhwc, y: Nhwc) -> Shareable:
    return BinaryKernel(
        kind="Add", a=x.unscaled, b=x.unscaled, y=y.unscaled, finish=float_finish(x)
    )


def float_layer_norm(x: Nhwc, y: Nhwc) -> Shareable:
    gamma = np.full(CHANNELS, x.scale, np.float32)
    return LayerNormKernel(
        x=x.unscaled, y=replace(y.unscaled, halo=Halo()), gamma=gamma, beta=gamma, epsilon=1e-5
    )


OF_FLOATS = [float_conv2d, float_depthwise, float_matmul, float_add, float_layer_norm]


def two_layers(layer: Layer, dtype: str) -> list[Any]:
    """Of one shape, with other numbers wherever there are any."""
    layers = []
    for zero, scale in ((3, 0.125), (100, 0.25)):
        x = Nhwc(n=1, h=8, w=8, c=CHANNELS, dtype=dtype, scale=scale, zero_point=zero)
        border = Halo(top=1, left=1, bottom=1, right=1)
        y = replace(x, scale=2 * scale + 1, zero_point=zero + 1, halo=border)
        layers.append(layer(x, y))
    return layers


def same_code(layers: list[Any], name: str, method: str = "build") -> bool:
    """Whether the code made of each layer's own numbers is the code that they share."""
    import tvm_ffi

    mk = isa.load(name)
    shared = getattr(layers[0], method)(mk).func
    # What `@shared` wraps builds a kernel of its own numbers.
    alone = [getattr(type(layer), method).__wrapped__(layer, mk).func for layer in layers]
    return all(tvm_ffi.structural_equal(shared, func) for func in alone)


def named(layer: Layer) -> str:
    return layer.__name__


@pytest.mark.parametrize("layer", OF_CODES, ids=named)
def test_a_layers_own_numbers_are_not_in_its_code(layer: Layer) -> None:
    layers = two_layers(layer, "uint8")
    assert same_code(layers, CODES)


@pytest.mark.parametrize("layer", OF_FLOATS, ids=named)
def test_the_numbers_of_a_float_layer_are_not_in_its_code(layer: Layer) -> None:
    layers = two_layers(layer, "float32")
    assert same_code(layers, FLOATS)


def test_the_zero_points_of_a_product_are_not_in_the_code_that_packs() -> None:
    assert same_code(two_layers(matmul, "uint8"), CODES, "pack")


@pytest.mark.parametrize("layer", [*OF_CODES, *OF_FLOATS], ids=named)
def test_layers_of_one_shape_have_one_signature(layer: Layer) -> None:
    name, dtype = (CODES, "uint8") if layer in OF_CODES else (FLOATS, "float32")
    one, other = (each.build(isa.load(name)).code for each in two_layers(layer, dtype))
    assert one.signature == other.signature


def test_numbers_that_are_in_the_code_are_seen() -> None:
    """The test above can fail: an epsilon of floats is no constant but code."""
    one, other = two_layers(float_layer_norm, "float32")
    assert not same_code([one, replace(other, epsilon=1e-3)], FLOATS)

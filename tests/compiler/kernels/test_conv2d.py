"""Convolution agrees with ONNX Runtime's integer kernel, bit by bit, on every micro-kernel."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.function import FunctionStep
from edgekiln.compiler.ir.memory import Halo, Nhwc
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.depthwise.kernel import DepthwiseKernel
from edgekiln.compiler.kernels.epilogue.finish import (
    ActivationFinish,
    DequantizeFinish,
    RequantizeFinish,
)
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.tile import Tile
from edgekiln.targets import isa
from tests.compiler.kernels import harness
from tests.compiler.kernels.convolutions import Case, Problem, cases, with_other_numbers
from tests.compiler.kernels.harness import (
    Array,
    Codes,
    everywhere,
    here,
    microkernel,
    quick,
    run,
    thorough,
)


def check_conv(name: str, case: Case) -> None:
    mk = microkernel(name)
    p = Problem(case, mk.activation)
    conv = ConvolutionKernel(y=p.y.tensor, finish=p.finish, groups=case.groups, **p.attributes())
    memory = run(built(conv, mk), name, [p.x.memory()], p.y.tensor, case.pieces)
    harness.assert_codes(memory, p.expected())


def check_depthwise(name: str, case: Case) -> None:
    mk = microkernel(name)
    p = Problem(case, mk.activation)
    conv = DepthwiseKernel(y=p.y.tensor, finish=p.finish, **p.attributes())
    memory = run(built(conv, mk), name, [p.x.memory()], p.y.tensor, case.pieces)
    harness.assert_codes(memory, p.expected())


def check_depthwise_tile(name: str, case: Case, tile: int) -> None:
    """`tile` counts into the tiles that the convolution may have, round and round."""
    mk = microkernel(name)
    p = Problem(case, mk.activation)
    conv = DepthwiseKernel(y=p.y.tensor, finish=p.finish, **p.attributes())
    every = conv.tiles(mk)
    conv = replace(conv, tile=every[tile % len(every)])
    memory = run(built(conv, mk), name, [p.x.memory()], p.y.tensor, case.pieces)
    harness.assert_codes(memory, p.expected())


def check_residual(name: str, case: Case, *, depthwise: bool = False) -> None:
    mk = microkernel(name)
    p = Problem(case, mk.activation)
    fused, other, total = p.residual()
    clip = harness.bounds(total.dtype)
    common: dict[str, Any] = {
        "y": total,
        "finish": RequantizeFinish(mult=p.mult, clip=clip),
        "residual": fused,
        **p.attributes(),
    }
    conv = (
        DepthwiseKernel(**common) if depthwise else ConvolutionKernel(groups=case.groups, **common)
    )
    memory = run(built(conv, mk), name, [p.x.memory(), other.memory()], total, case.pieces)
    own = replace(p.expected(), tensor=p.y.tensor)
    harness.assert_codes(memory, Codes(total, harness.summed(own, other, total, clip)))


def check_float_result(name: str, case: Case, *, depthwise: bool = False) -> None:
    mk = microkernel(name)
    p = Problem(case, mk.activation)
    n, c, h, w = p.oracle_shape
    out = Nhwc(n=n, h=h, w=w, c=c, dtype="float32")
    mult = (p.x_scale * p.w_scale).astype(np.float32)
    expected = p.sums().astype(np.float32) * mult[:, None, None]
    memory = dequantized(name, p, out, DequantizeFinish(mult=mult), depthwise=depthwise)
    np.testing.assert_array_equal(memory, expected.transpose(0, 2, 3, 1).reshape(-1))
    # The same, put through a function, and quantized again.
    finish = DequantizeFinish(mult=mult, floats=ActivationFinish(function=HARD_SWISH))
    gate = np.minimum(np.maximum(expected + np.float32(3), np.float32(0)), np.float32(6))
    wanted = expected * gate / np.float32(6)
    memory = dequantized(name, p, p.y.tensor, finish, depthwise=depthwise)
    steps = wanted / np.float32(p.y.tensor.scale)
    codes = harness.requantized(steps, p.y.tensor, harness.bounds(p.y.tensor.dtype))
    harness.assert_codes(memory, Codes(p.y.tensor, codes))


HARD_SWISH = tuple(
    FunctionStep(op, operands)
    for op, operands in (
        ("Add", (0, 3.0)), ("Max", (1, 0.0)), ("Min", (2, 6.0)), ("Mul", (0, 3)), ("Div", (4, 6.0)),
    )
)  # fmt: skip


def dequantized(
    name: str, p: Problem, y: Nhwc, finish: DequantizeFinish, *, depthwise: bool
) -> Array:
    common: dict[str, Any] = {"y": y, "finish": finish, **p.attributes()}
    conv = (
        DepthwiseKernel(**common)
        if depthwise
        else ConvolutionKernel(groups=p.case.groups, **common)
    )
    return run(built(conv, microkernel(name)), name, [p.x.memory()], y, p.case.pieces)


def check_tile(name: str, case: Case, pixels: int, vectors: int, splits: int) -> None:
    mk = microkernel(name)
    p = Problem(case, mk.activation)
    # A tile is never wider than a row, nor than the vectors there are; the tuner knows that.
    tile = Tile(pixels=min(pixels, p.y.tensor.w), vectors=vectors, splits=splits)
    conv = ConvolutionKernel(
        y=p.y.tensor, finish=p.finish, groups=case.groups, tile=tile, **p.attributes()
    )
    memory = run(built(conv, mk), name, [p.x.memory()], p.y.tensor, case.pieces)
    harness.assert_codes(memory, p.expected())


@everywhere
@given(cases())
@quick
def test_convolution_agrees_with_onnx_runtime(name: str, case: Case) -> None:
    check_conv(name, case)


@everywhere
@given(cases(depthwise=True))
@quick
def test_depthwise_convolution_agrees_with_onnx_runtime(name: str, case: Case) -> None:
    check_depthwise(name, case)


@everywhere
@given(cases())
@quick
def test_a_fused_residual_gives_the_bits_of_the_two_kernels(name: str, case: Case) -> None:
    check_residual(name, case)


@everywhere
@given(cases(depthwise=True))
@quick
def test_a_residual_fused_into_a_depthwise_convolution(name: str, case: Case) -> None:
    check_residual(name, case, depthwise=True)


@everywhere
@given(cases(depthwise=True), st.integers(0, 50))
@quick
def test_every_tile_of_a_depthwise_convolution_gives_the_same_bits(
    name: str, case: Case, tile: int
) -> None:
    check_depthwise_tile(name, case, tile)


@here
@pytest.mark.parametrize(("channels", "height", "kernel"), [(16, 5, 3), (116, 1, 3), (58, 4, 5)])
def test_long_rows_are_computed_in_strips(
    name: str, channels: int, height: int, kernel: int
) -> None:
    half = kernel // 2
    case = Case(
        seed=3, n=2, size=(height, 131), groups=channels, channels=(1, 1), kernel=(kernel, kernel),
        strides=(1, 1), dilations=(1, 1), pads=(half, half, half, half), zeros=("some", "low"),
        data="random", halos=(0, 1), clipped=False, pieces=2,
    )  # fmt: skip
    check_depthwise(name, case)
    check_residual(name, case, depthwise=True)


@everywhere
@given(cases())
@quick
def test_float_results_are_the_scaled_exact_sums(name: str, case: Case) -> None:
    check_float_result(name, case)


@everywhere
@given(cases(depthwise=True))
@quick
def test_float_results_of_depthwise_convolutions_are_the_scaled_exact_sums(
    name: str, case: Case
) -> None:
    check_float_result(name, case, depthwise=True)


@everywhere
@given(cases(), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3))
@quick
def test_every_register_tile_gives_the_same_bits(
    name: str, case: Case, pixels: int, vectors: int, splits: int
) -> None:
    check_tile(name, case, pixels, vectors, splits)


@here
@pytest.mark.parametrize("channels", [10, 127, 1000])
def test_a_lone_pixel_is_shared_by_channels(name: str, channels: int) -> None:
    case = Case(
        seed=5, n=1, size=(1, 1), groups=1, channels=(33, channels), kernel=(1, 1),
        strides=(1, 1), dilations=(1, 1), pads=(0, 0, 0, 0), zeros=("some", "high"),
        data="random", halos=(0, 0), clipped=False, pieces=4,
    )  # fmt: skip
    check_conv(name, case)
    check_residual(name, case)
    check_float_result(name, case)


@pytest.mark.parametrize("halo", [Halo(), Halo(top=1, left=1), Halo(bottom=2, right=2)])
def test_a_border_smaller_than_the_padding_is_refused(halo: Halo) -> None:
    x = Nhwc(n=1, h=4, w=4, c=4, dtype="uint8", scale=1.0, zero_point=0, halo=halo)
    conv = ConvolutionKernel(
        x=x, y=replace(x, halo=Halo()), weight=np.ones((4, 4, 3, 3), np.int8), pads=(1, 1),
        bias=np.zeros(4, np.int32), finish=RequantizeFinish(mult=np.ones(4, np.float32)),
    )  # fmt: skip
    with pytest.raises(AssertionError, match=r"padding|window"):
        conv.build(isa.load("generic_u8"))


@pytest.mark.slow
@here
@pytest.mark.parametrize("check", [check_conv, check_residual, check_float_result])
@given(case=cases())
@thorough
def test_convolutions_by_the_thousand(
    name: str, check: Callable[[str, Case], None], case: Case
) -> None:
    check(name, case)
    for other in with_other_numbers(case):
        check(name, other)


@pytest.mark.slow
@here
@pytest.mark.parametrize(
    "check",
    [
        check_depthwise,
        partial(check_residual, depthwise=True),
        partial(check_float_result, depthwise=True),
    ],
)
@given(case=cases(depthwise=True))
@thorough
def test_depthwise_convolutions_by_the_thousand(
    name: str, check: Callable[[str, Case], None], case: Case
) -> None:
    check(name, case)
    for other in with_other_numbers(case):
        check(name, other)

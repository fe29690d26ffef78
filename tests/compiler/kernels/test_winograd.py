"""Winograd's filtering gives the bits of the direct convolution's oracle, whatever the data."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.conv2d import winograd, winograd_plan
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.epilogue.finish import (
    ActivationFinish,
    DequantizeFinish,
    RequantizeFinish,
)
from edgekiln.targets import isa
from tests.compiler.kernels import harness
from tests.compiler.kernels.convolutions import Case, Problem, with_other_numbers
from tests.compiler.kernels.floats import assert_within
from tests.compiler.kernels.harness import Codes, floats_here, microkernel, quick, run, thorough
from tests.compiler.kernels.test_float_conv2d import Problem as FloatProblem

_FILTERING = ["x86_avx2", "x86_avx_vnni", "x86_vnni"]
everywhere = pytest.mark.parametrize("name", _FILTERING)
# 9·115·127·255 is just below 2²⁵, the largest sum that survives the shift.
_MOST_CHANNELS = 115


@st.composite
def cases(draw: Any) -> Case:
    pads = tuple(draw(st.integers(0, 2)) for _ in range(4))
    least = [max(1, 6 - pads[axis] - pads[axis + 2]) for axis in (0, 1)]
    return Case(
        seed=draw(st.integers(0, 2**16)),
        n=draw(st.sampled_from([1, 1, 2])),
        size=(least[0] + draw(st.integers(0, 9)), least[1] + draw(st.integers(0, 20))),
        groups=1,
        channels=(
            draw(st.sampled_from([8, 9, 16, 17, 20, 33, 48, 64, _MOST_CHANNELS])),
            draw(st.sampled_from([1, 3, 8, 10, 16, 17, 32, 33, 48, 64, 96, 127, 200])),
        ),
        kernel=(3, 3),
        strides=(1, 1),
        dilations=(1, 1),
        pads=pads,  # type: ignore[arg-type]
        zeros=(draw(_ZEROS), draw(_ZEROS)),
        data=draw(st.sampled_from(["random", "saturating"])),
        halos=(draw(_HALOS), draw(_HALOS)),
        clipped=draw(st.booleans()),
        pieces=draw(st.sampled_from([1, 2, 5])),
    )


_ZEROS = st.sampled_from(["low", "high", "some"])
_HALOS = st.sampled_from([0, 0, 1, 2, 3])


def filtered(conv: ConvolutionKernel, name: str, choice: int) -> ConvolutionKernel:
    """The convolution by one of the ways to cut Winograd's filtering; by other means where sums
    may be too large.
    """
    tiles = [tile for tile in conv.tiles(microkernel(name)) if tile.algorithm == "winograd"]
    assert bool(tiles) == winograd.is_exact(conv.weight)
    return replace(conv, tile=tiles[choice % len(tiles)]) if tiles else conv


def check(name: str, case: Case, choice: int) -> None:
    p = Problem(case, microkernel(name).activation)
    conv = filtered(
        ConvolutionKernel(y=p.y.tensor, finish=p.finish, **p.attributes()), name, choice
    )
    memory = run(conv.build(isa.load(name)), name, [p.x.memory()], p.y.tensor, case.pieces)
    harness.assert_codes(memory, p.expected())


def check_residual(name: str, case: Case, choice: int) -> None:
    p = Problem(case, microkernel(name).activation)
    own, other, total = p.residual()
    clip = harness.bounds(total.dtype)
    conv = ConvolutionKernel(
        y=total, finish=RequantizeFinish(mult=p.mult, clip=clip), residual=own, **p.attributes()
    )
    kernel = filtered(conv, name, choice).build(isa.load(name))
    memory = run(kernel, name, [p.x.memory(), other.memory()], total, case.pieces)
    values = replace(p.expected(), tensor=p.y.tensor)
    harness.assert_codes(memory, Codes(total, harness.summed(values, other, total, clip)))


def check_sums(name: str, case: Case, choice: int) -> None:
    p = Problem(case, microkernel(name).activation)
    n, c, h, w = p.oracle_shape
    out = Nhwc(n=n, h=h, w=w, c=c, dtype="float32")
    mult = (p.x_scale * p.w_scale).astype(np.float32)
    conv = filtered(
        ConvolutionKernel(y=out, finish=DequantizeFinish(mult=mult), **p.attributes()), name, choice
    )
    memory = run(conv.build(isa.load(name)), name, [p.x.memory()], out, case.pieces)
    expected = p.sums().astype(np.float32) * mult[:, None, None]
    np.testing.assert_array_equal(memory, expected.transpose(0, 2, 3, 1).reshape(-1))


@everywhere
@pytest.mark.parametrize("checked", [check, check_residual, check_sums])
@given(case=cases(), choice=st.integers(0, 50))
@quick
def test_filtering_gives_the_bits_of_the_definition(
    name: str, checked: Any, case: Case, choice: int
) -> None:
    checked(name, case, choice)


@pytest.mark.slow
@everywhere
@pytest.mark.parametrize("checked", [check, check_residual, check_sums])
@given(case=cases(), choice=st.integers(0, 50))
@thorough
def test_filtering_by_the_thousand(name: str, checked: Any, case: Case, choice: int) -> None:
    checked(name, case, choice)
    for other in with_other_numbers(case):
        checked(name, other, choice)


def convolution(channels: int, weight: int = 127, size: int = 8) -> ConvolutionKernel:
    x = Nhwc(n=1, h=size + 2, w=size + 2, c=channels, dtype="uint8", scale=1.0, zero_point=0)
    y = Nhwc(n=1, h=size, w=size, c=16, dtype="uint8", scale=1.0, zero_point=0)
    return ConvolutionKernel(
        x=x, y=y, weight=np.full((16, channels, 3, 3), weight, np.int8),
        bias=np.zeros(16, np.int32), finish=RequantizeFinish(mult=np.ones(16, np.float32)),
    )  # fmt: skip


@pytest.mark.parametrize("weight", [127, -127])
def test_sums_too_large_for_the_shift_are_not_filtered(weight: int) -> None:
    mk = isa.load("x86_vnni")
    assert winograd_plan.applies(convolution(_MOST_CHANNELS, weight), mk)
    assert not winograd_plan.applies(convolution(_MOST_CHANNELS + 1, weight), mk)


def test_layers_of_one_shape_share_code_only_if_filtered_alike() -> None:
    mk = isa.load("x86_vnni")
    small, other, large = (convolution(128, weight).build(mk) for weight in (1, -2, 127))
    assert small.code.signature == other.code.signature != large.code.signature


def test_compact_weights_take_no_more_bytes_than_the_filters() -> None:
    mk = isa.load("x86_vnni")
    large = convolution(64)
    compact = replace(large, compact=True)
    assert {tile.algorithm for tile in compact.tiles(mk)[:2]} == {"direct", "winograd"}
    sizes = [max(c.nbytes for c in conv.build(mk).constants) for conv in (large, compact)]
    assert sizes == [64 * 16 * 36 * 2, 64 * 16 * 9]


@pytest.mark.parametrize("change", [{"strides": (2, 2)}, {"dilations": (2, 2)}, {"groups": 2}])
def test_only_plain_three_by_three_convolutions_are_filtered(change: dict[str, Any]) -> None:
    mk = isa.load("x86_vnni")
    assert not winograd_plan.applies(replace(convolution(32), **change), mk)


def test_a_chip_without_products_of_words_is_not_offered_it() -> None:
    assert not winograd_plan.applies(convolution(32), isa.load("arm_dotprod"))


@floats_here
@given(case=cases(), choice=st.integers(0, 50))
@quick
def test_filtered_floats_are_as_exact_as_their_roundings_allow(
    name: str, case: Case, choice: int
) -> None:
    p = FloatProblem(case)
    conv = ConvolutionKernel(finish=ActivationFinish(), **p.attributes())
    tiles = [tile for tile in conv.tiles(microkernel(name)) if tile.algorithm == "winograd"]
    chosen = replace(conv, tile=tiles[choice % len(tiles)]) if tiles else conv
    assert bool(tiles) == name.startswith("x86")
    memory = run(chosen.build(isa.load(name)), name, [p.x.memory()], p.y, case.pieces)
    assert_within(memory, p.y, p.sums, p.bound)

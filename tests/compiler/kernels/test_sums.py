"""Sums that are floats by their bits give the bits that their conversion to float32 gives."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.epilogue.finish import RequantizeFinish
from edgekiln.compiler.kernels.epilogue.sums import START, ResidualOperand
from tests.compiler.kernels import harness
from tests.compiler.kernels.harness import Array, microkernel, quick, run

unsigned = pytest.mark.parametrize("name", ["generic_u8", "x86_avx2", "x86_avx_vnni", "x86_vnni"])
INT32 = np.iinfo(np.int32)
LAST = 0x7F800000 - START  # the first sum whose bits are infinity
EDGES = (0, 1 << 22, 1 << 23, 1 << 24, 1 << 25, LAST, -START, INT32.min, INT32.max)
CHANNELS = 60  # a wide vector, stored in part; two or four registers
LEAST = 255 / 2**23  # of a multiplier whose sums saturate before they are floats 2 apart

sums = st.one_of(
    st.integers(-40_000, 40_000),
    st.integers(INT32.min, INT32.max),
    st.builds(lambda edge, by: min(max(edge + by, INT32.min), INT32.max),
              st.sampled_from(EDGES), st.integers(-3, 3)),
)  # fmt: skip
multipliers = st.one_of(
    st.floats(0, 1, width=32),
    st.floats(0, 2.0**40, width=32),
    st.sampled_from([0.0, 0.0, 1e-45, 2.0**-126, LEAST, LEAST - 2.0**-39, 0.5, 1.0, 2.0**30]),
)
channels = st.lists(st.tuples(sums, multipliers), min_size=1, max_size=CHANNELS)


def is_rectified(conv: ConvolutionKernel) -> bool:
    return finish_of(conv).is_rectified(conv)


def finish_of(conv: ConvolutionKernel) -> RequantizeFinish:
    assert isinstance(conv.finish, RequantizeFinish)
    return conv.finish


def with_finish(conv: ConvolutionKernel, **changes: Any) -> ConvolutionKernel:
    return replace(conv, finish=replace(finish_of(conv), **changes))


def layer(starts: Array, mult: Array, high: int = 255, least: int = -128) -> ConvolutionKernel:
    """Four channels to many, 1×1; weights from `least` up to -`least`."""
    tensor = Nhwc(n=1, h=1, w=5, c=4, dtype="uint8")
    weight = np.random.default_rng(0).integers(least, -least or 1, (len(starts), 4, 1, 1))
    return ConvolutionKernel(
        x=tensor, y=replace(tensor, c=len(starts)), weight=weight.astype(np.int8),
        bias=starts.astype(np.int32),
        finish=RequantizeFinish(mult=mult.astype(np.float32), clip=(0, high)),
    )  # fmt: skip


def check(name: str, conv: ConvolutionKernel) -> None:
    x = np.random.default_rng(1).integers(0, 256, (5, 4)).astype(np.uint8)
    memory = run(conv.build(microkernel(name)), name, [x.reshape(-1)], conv.y)
    total = conv.bias + x.astype(np.int64) @ conv.weight[:, :, 0, 0].T
    with np.errstate(over="ignore"):
        value = total.astype(np.int32).astype(np.float32) * finish_of(conv).mult
    np.testing.assert_array_equal(
        memory, harness.requantized(value, conv.y, finish_of(conv).clip).reshape(-1)
    )


@unsigned
@given(channels, st.sampled_from([255, 254, 1]), st.sampled_from([0, -1, -128]))
@quick
def test_any_sum_times_any_multiplier(
    name: str, drawn: list[tuple[int, float]], high: int, least: int
) -> None:
    pairs = [*drawn, *[(0, 0.0)] * (CHANNELS - len(drawn))]
    starts, mult = (np.array(column) for column in zip(*pairs, strict=True))
    check(name, layer(starts, mult, high, least))
    # Those channels alone of whose sums every one may be a float.
    chosen = [is_rectified(layer(starts[[i]], mult[[i]], high, least)) for i in range(CHANNELS)]
    conv = layer(np.where(chosen, starts, 0), np.where(chosen, mult, 0.5), high, least)
    assert is_rectified(conv)
    check(name, conv)


@unsigned
@pytest.mark.parametrize("channels", [4, 8, 16, 24, 96])
def test_vectors_of_every_width(name: str, channels: int) -> None:
    starts = np.linspace(-60_000, 60_000, channels).round()
    for high in (255, 200):
        conv = layer(starts, np.full(channels, 0.01), high)
        assert is_rectified(conv)
        check(name, conv)


@pytest.mark.parametrize(
    ("start", "mult", "rectified"),
    [
        (0, 0.01, True),
        (2**23, 1e-9, True),
        (2**23 + 1, 1e-9, False),  # two apart, and not saturated
        (2**23 + 1, LEAST, True),
        (-START, 0.01, True),
        (-START - 1, 0.01, False),
        (2**26, 0.01, True),
        (LAST - 1, 0.01, False),  # beyond int32 once scaled
        (LAST, 1e-45, False),
        (LAST, 0.0, True),  # 0 or NaN: the code 0
        (0, 2.0**30, False),
    ],
)
def test_sums_are_floats_where_the_bits_stay_the_same(
    start: int, mult: float, rectified: bool
) -> None:
    conv = layer(np.array([0, start]), np.array([0.01, mult]), least=0)
    assert is_rectified(conv) == rectified


def test_weights_that_reach_too_far_count() -> None:
    conv = layer(np.array([2**23]), np.array([1e-9]))
    assert not is_rectified(conv)
    assert is_rectified(replace(conv, weight=-np.abs(conv.weight)))


def test_a_layer_and_what_stands_for_it_are_rectified_alike() -> None:
    conv = layer(np.zeros(4), np.full(4, 0.01))
    wide = replace(conv, weight=np.full((4, 50_000, 1, 1), 6, np.int8))
    for each in (
        conv,
        wide,
        with_finish(conv, clip=(1, 255)),
        with_finish(conv, mult=finish_of(conv).mult * 0),
    ):
        assert is_rectified(each.erased) == is_rectified(each)


def test_only_a_result_that_ends_at_its_zero_point_is_rectified() -> None:
    conv = layer(np.zeros(4), np.full(4, 0.01))
    own = ResidualOperand(tensor=conv.y, clip=(0, 255))
    assert not is_rectified(with_finish(conv, clip=(1, 255)))
    assert not is_rectified(replace(conv, residual=own))
    assert not is_rectified(replace(conv, y=replace(conv.y, zero_point=7)))
    assert not is_rectified(replace(conv, y=replace(conv.y, dtype="float32")))

"""Codes by integers alone are float32's, sum by sum."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.requantize import NONE, shift_for, whole_factors
from tests.compiler.kernels.harness import thorough

ZEROS = st.sampled_from([-128, 127, 0, -1, -93, 40])
MULTS = st.floats(2.0**-14, 0.4375, width=32)


def steps_of(zero: int) -> NDArray[np.int64]:
    return np.arange(-127, 128, dtype=np.int64) - zero


def by_floats(sums: NDArray[np.int64], mult: np.float32, zero: int) -> NDArray[np.int64]:
    """What ONNX Runtime computes."""
    steps = np.rint(sums.astype(np.float32) * mult).astype(np.int64)
    return np.clip(steps + zero, -128, 127)


def by_integers(sums: NDArray[np.int64], factor: int, shift: int, zero: int) -> NDArray[np.int64]:
    """What a chip computes."""
    start = (2 * zero + 1) << (shift - 1)
    return np.clip((start + ((sums * factor) >> 32)) >> shift, -128, 127)


def sums_worth_asking(mult: np.float32, zero: int, seed: int) -> NDArray[np.int64]:
    """Those where a code begins, those beside, and any others."""
    places = np.rint((steps_of(zero) - 0.5) / np.float64(mult)).astype(np.int64)
    near = (places[:, None] + np.arange(-3, 4)).reshape(-1)
    return np.concatenate([near, np.random.default_rng(seed).integers(-(2**22), 2**22, 2000)])


@given(MULTS, ZEROS, st.integers(0, 15))
@thorough
def test_where_there_is_a_factor_every_sum_has_the_code_of_floats(
    mult: float, zero: int, seed: int
) -> None:
    channel = np.array([mult], np.float32)
    shift = shift_for(channel)
    assume(shift > 0)
    (factor,) = whole_factors(channel, steps_of(zero), shift)
    sums = sums_worth_asking(channel[0], zero, seed)
    same = np.array_equal(
        by_integers(sums, int(factor), shift, zero), by_floats(sums, channel[0], zero)
    )
    assert same or factor == NONE


@pytest.mark.parametrize("zero", [-128, 0])
def test_every_sum_of_a_small_layer_has_the_code_of_floats(zero: int) -> None:
    mult = np.random.default_rng(zero + 200).uniform(0.002, 0.02, 400).astype(np.float32)
    shift = shift_for(mult)
    factors = whole_factors(mult, steps_of(zero), shift)
    assert (factors != NONE).mean() > 0.8
    sums = np.arange(-(2**17), 2**17)
    for one, factor in zip(mult[:40], factors[:40], strict=True):
        if factor != NONE:
            codes = by_integers(sums, int(factor), shift, zero)
            np.testing.assert_array_equal(codes, by_floats(sums, one, zero))


def test_a_channel_without_a_factor_has_a_sum_that_no_factor_serves() -> None:
    mult = np.random.default_rng(5).uniform(0.0002, 0.002, 400).astype(np.float32)
    shift = shift_for(mult)
    lost = mult[whole_factors(mult, steps_of(0), shift) == NONE]
    assert 0 < len(lost) < len(mult)
    for one in lost[:20]:
        nearest = round(float(one) * 2.0 ** (32 + shift))
        sums = sums_worth_asking(one, 0, 1)
        wanted = by_floats(sums, one, 0)
        for factor in range(nearest - 300, nearest + 301, 5):
            assert not np.array_equal(by_integers(sums, factor, shift, 0), wanted)


def test_powers_of_two_have_none_for_their_halves_go_to_even_codes() -> None:
    mult = np.array([2.0**-8, 2.0**-8 * 1.001], np.float32)
    assert [f == NONE for f in whole_factors(mult, steps_of(0), shift_for(mult))] == [True, False]


@pytest.mark.parametrize("mult", [0.0, 1.0, 7.5])
def test_factors_beyond_int32_have_no_shift(mult: float) -> None:
    assert shift_for(np.array([mult], np.float32)) == 0

"""The three range estimators, on histograms of known values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.quantization.entropy import entropy_range
from edgekiln.compiler.quantization.mse import mse_range
from edgekiln.compiler.quantization.percentile import percentile_range
from edgekiln.compiler.quantization.ranges import BINS, Histogram

ESTIMATORS = {
    "percentile": lambda histogram: percentile_range(histogram, 99.9),
    "entropy": entropy_range,
    "mse": mse_range,
}


def histogram_of(values: np.ndarray) -> Histogram:
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    nonzero = values[values != 0]
    counts = np.histogram(nonzero, BINS, range=(low, high) if low < high else (0, 1))[0]
    return Histogram(low=low, high=high, counts=counts, zeros=values.size - nonzero.size)


def quantization_error(values: np.ndarray, low: float, high: float) -> float:
    """Mean squared error of s8 with this range, computed value by value."""
    scale = (high - low) / 255
    zero = np.round(-128 - low / scale)
    q = np.clip(np.round(values / scale) + zero, -128, 127)
    return float(np.mean((values - (q - zero) * scale) ** 2))


NORMAL = np.random.default_rng(0).normal(size=200_000)
RELU = np.maximum(NORMAL, 0)
# A few values far out, as one strange channel makes them.
SPIKED = np.concatenate([RELU, np.full(20, 60.0)])


def test_percentile_cuts_the_same_share_off_both_tails():
    low, high = percentile_range(histogram_of(NORMAL), 99.0)
    bin_width = (NORMAL.max() - NORMAL.min()) / BINS
    assert low == pytest.approx(np.percentile(NORMAL, 0.5), abs=2 * bin_width)
    assert high == pytest.approx(np.percentile(NORMAL, 99.5), abs=2 * bin_width)


def test_percentile_counts_the_zeros_behind_a_relu():
    _, high = percentile_range(histogram_of(RELU), 99.0)
    assert high == pytest.approx(np.percentile(RELU, 99.5), abs=2 * RELU.max() / BINS)


def test_percentile_100_is_the_whole_range():
    histogram = histogram_of(NORMAL)
    assert percentile_range(histogram, 100.0) == pytest.approx((histogram.low, histogram.high))


def test_entropy_clips_a_few_far_values():
    low, high = entropy_range(histogram_of(SPIKED))
    assert low == 0.0
    assert high < 20
    assert quantization_error(RELU, low, high) < quantization_error(RELU, 0, 60) / 10


@pytest.mark.parametrize("values", [NORMAL, RELU, SPIKED], ids=["normal", "relu", "spiked"])
def test_mse_is_near_the_best_range_there_is(values):
    low, high = mse_range(histogram_of(values))
    errors = [
        quantization_error(values, max(values.min(), -t), min(values.max(), t))
        for t in np.linspace(0.02, 1, 100) * np.abs(values).max()
    ]
    assert quantization_error(values, low, high) <= 1.1 * min(errors)


def test_mse_keeps_a_few_values_so_far_out_that_losing_them_costs_more():
    assert mse_range(histogram_of(SPIKED)) == pytest.approx((0, 60), rel=0.02)


def test_mse_keeps_a_uniform_range_whole():
    uniform = np.random.default_rng(0).uniform(-1, 1, 100_000)
    assert mse_range(histogram_of(uniform)) == pytest.approx((-1, 1), abs=0.02)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_tensor_of_zeros_keeps_its_empty_range(name):
    assert ESTIMATORS[name](histogram_of(np.zeros(10))) == (0.0, 0.0)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50),
    name=st.sampled_from(sorted(ESTIMATORS)),
)
def test_a_range_lies_in_the_observed_one_and_holds_zero(values, name):
    histogram = histogram_of(np.array(values))
    low, high = ESTIMATORS[name](histogram)
    slack = 1e-9 * histogram.largest
    assert histogram.low - slack <= low <= 0.0 <= high <= histogram.high + slack
    assert (low, high) != (0.0, 0.0) or histogram.largest == 0.0


@pytest.mark.parametrize("name", ["laplace", "student", "spiked"])
def test_no_range_has_less_squared_error_than_that_of_mse(name: str) -> None:
    draw = np.random.default_rng(1)
    values = {
        "laplace": draw.laplace(size=100_000),
        "student": draw.standard_t(3, size=100_000),
        "spiked": SPIKED,
    }[name]
    largest = np.abs(values).max()
    thresholds = [largest * step / 200 for step in range(1, 201)]
    ranges = [(max(values.min(), -t), min(values.max(), t)) for t in thresholds]
    least = min(quantization_error(values, *each) for each in ranges)
    assert quantization_error(values, *mse_range(histogram_of(values))) <= 1.02 * least

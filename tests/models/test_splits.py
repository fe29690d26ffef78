"""Splits: disjoint, stratified, and decided by the seed alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.models.data.splits import size_of, stratified_order
from edgekiln.runtime.errors import ConfigError

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=200).map(np.array)
SEEDS = st.integers(0, 2**32)


@given(y=LABELS, seed=SEEDS)
def test_every_sample_comes_exactly_once(y, seed):
    assert sorted(stratified_order(y, seed)) == list(range(len(y)))


@given(y=LABELS, seed=SEEDS, share=st.floats(0, 1))
def test_every_beginning_holds_the_classes_in_proportion(y, seed, share):
    beginning = y[stratified_order(y, seed)[: round(share * len(y))]]
    labels = np.unique(y)
    expected = [len(beginning) * np.mean(y == label) for label in labels]
    found = [np.sum(beginning == label) for label in labels]
    # Each of the at most six classes is off by less than one sample, and shifts the others.
    np.testing.assert_allclose(found, expected, rtol=0, atol=len(labels))


@given(y=LABELS, seed=SEEDS)
def test_the_seed_alone_decides(y, seed):
    assert np.array_equal(stratified_order(y, seed), stratified_order(y, seed))


def test_another_seed_gives_another_order():
    y = np.repeat([0, 1], 50)
    assert not np.array_equal(stratified_order(y, 0), stratified_order(y, 1))


def test_a_size_below_one_is_a_share_and_above_a_count():
    assert size_of("val", "0.25", 80) == 20
    assert size_of("val", "25", 80) == 25
    assert size_of("val", "0", 80) == 0


@pytest.mark.parametrize("text", ["some", "-1", "nan", "inf", ""])
def test_what_is_not_a_size_is_refused(text):
    with pytest.raises(ConfigError) as caught:
        size_of("val", text, 80)
    assert caught.value.message == f"data option val={text}: not a size"
    assert caught.value.hint == "a share below 1, such as 0.1, or a count, such as 500"


def test_a_size_has_no_more_than_there_is():
    assert size_of("val", "9" * 30, 80) == 80

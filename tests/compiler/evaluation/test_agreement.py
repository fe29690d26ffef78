"""Agreement with the float model: the worst output counts, and scores are rows."""

import math

import numpy as np
import pytest

from edgekiln.compiler.evaluation.agreement import Agreement, agreement
from edgekiln.compiler.evaluation.report import Costs
from edgekiln.runtime.errors import InputError

COSTS = Costs(parameters=7, macs=9, file_bytes=11)
Outputs = list[np.ndarray]


def compared(real: Outputs, ours: Outputs, samples: int = 4) -> Agreement:
    call = ({"x": np.zeros((samples, 1))}, samples)
    return agreement(lambda _: [*real], lambda _: [*ours], [call], COSTS, 40)


def scores(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(4, 5))


def test_equal_outputs_agree_wholly() -> None:
    found = compared([scores()], [scores()])
    assert (found.sqnr_db, found.top1) == (200.0, 1.0)
    assert found.cosine == pytest.approx(1.0)
    assert (found.n, found.of, found.macs, found.file_bytes) == (4, 40, 9, 11)


def test_noise_of_a_tenth_is_twenty_decibels() -> None:
    real = np.ones((4, 5))
    assert compared([real], [real * 1.1]).sqnr_db == pytest.approx(20.0)


def test_the_output_that_lost_most_counts() -> None:
    real = np.ones((4, 5))
    worst = compared([real, real, real], [real * 1.001, real * 1.5, real])
    assert worst.sqnr_db == pytest.approx(20 * math.log10(2))
    turned = compared([real, scores()], [real, -scores()])
    assert turned.cosine == pytest.approx(-1.0)


def test_the_same_largest_score_is_counted_by_samples() -> None:
    real = np.eye(4, 5)
    ours = real.copy()
    ours[0] = [0, 2, 0, 0, 0]
    assert compared([real], [ours]).top1 == 0.75


@pytest.mark.parametrize("shape", [(4, 1), (4, 3, 8, 8), (4,)])
def test_what_is_no_row_of_scores_has_no_largest_one(shape: tuple[int, ...]) -> None:
    y = np.random.default_rng(0).normal(size=shape)
    assert compared([y], [y]).top1 is None


def test_scores_with_axes_of_one_are_a_row() -> None:
    y = scores().reshape(4, 5, 1, 1)
    assert compared([y], [y]).top1 == 1.0


def test_outputs_without_a_batch_are_one_row() -> None:
    found = compared([np.arange(6.0)], [np.arange(6.0)], samples=1)
    assert (found.top1, found.n) == (1.0, 1)


def test_what_is_no_number_agrees_with_nothing() -> None:
    broken = scores()
    broken[0, 0] = np.nan
    found = compared([scores()], [broken])
    assert found.sqnr_db == -200.0
    assert found.cosine < 0.8


def test_a_model_whose_own_outputs_are_no_numbers_is_refused() -> None:
    rows = scores()
    rows[[0, 2], 0] = np.nan
    with pytest.raises(InputError, match="the model's outputs are NaN on 2 of 4 held-out samples"):
        compared([rows], [rows])


def test_integers_and_bits_are_compared_as_numbers() -> None:
    best, bits = np.array([[3], [1], [2], [0]]), np.array([[True], [False], [True], [True]])
    assert compared([best, bits], [best, bits]).sqnr_db == 200.0
    assert compared([best], [best + 1]).sqnr_db == pytest.approx(10 * math.log10(14 / 4))


def test_models_of_two_builds_are_refused() -> None:
    with pytest.raises(InputError, match=r"the outputs \(4, 5\) are not those of the float model"):
        compared([np.zeros((4, 6))], [scores()])

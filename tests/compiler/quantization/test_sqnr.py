import numpy as np
import pytest

from edgekiln.compiler.quantization.sqnr import LOST_DB, PERFECT_DB, OutputNoises, Sqnr


def test_noise_of_a_hundredth_is_40_db():
    signal = np.random.default_rng(0).normal(size=(8, 10)).astype(np.float32)
    sqnr = Sqnr()
    for row in signal:
        sqnr.add(row, row * np.float32(1.01))
    assert sqnr.db == pytest.approx(40.0, abs=1e-3)


def test_equal_outputs_have_no_noise():
    sqnr = Sqnr()
    sqnr.add(np.ones(3, np.float32), np.ones(3, np.float32))
    assert sqnr.db == PERFECT_DB


def test_noise_without_a_signal_is_the_worst_there_is():
    sqnr = Sqnr()
    sqnr.add(np.zeros(3, np.float32), np.ones(3, np.float32))
    assert sqnr.db == -PERFECT_DB


def ratio(real: list[float], ours: list[float]) -> float:
    sqnr = Sqnr()
    sqnr.add(np.array(real, np.float32), np.array(ours, np.float32))
    return sqnr.db


def test_infinities_that_both_have_are_no_noise():
    inf = np.inf
    assert ratio([-inf, 1.0, inf], [-inf, 1.01, inf]) == pytest.approx(40.0, abs=1e-3)
    assert ratio([-inf, 1.0], [inf, 1.0]) == LOST_DB
    assert ratio([-inf, 1.0], [-9.0, 1.0]) == LOST_DB
    assert ratio([1.0, 1.0], [inf, 1.0]) == LOST_DB
    assert ratio([np.nan, 1.0], [np.nan, 1.0]) == LOST_DB


def test_an_output_of_nothing_but_zeros_is_not_the_worst_of_several():
    noises = OutputNoises(2)
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    noises.add([zeros, ones], [zeros, ones * np.float32(1.01)])
    assert noises.least == 1
    noises.add([zeros, ones], [ones, ones])  # what was nothing is noise
    assert noises.least == 0
    assert noises.db_of([0]) == LOST_DB


def test_what_is_sure_is_asked_of_every_output_not_of_the_one_that_keeps_least():
    noises = OutputNoises(3)
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    for call in range(16):
        # A single call tells nothing of others.
        assert (noises.least_sure_db(16, 3.0) is None) == (call < 2)
        steady = ones * np.float32(1.03)
        # As much noise in all, but nearly all of it in one call of four.
        rare = ones * np.float32(1.001 if call % 4 else 1.05)
        noises.add([zeros, ones, ones], [zeros, steady, rare])
    assert noises.least == 1
    assert noises.db_of([1]) == pytest.approx(30.46, abs=0.01)
    assert noises.db_of([2]) == pytest.approx(32.04, abs=0.01)
    # Of blocks with 26 and with 60 dB.
    error_db = np.std([26.02, 60, 60, 60] * 4, ddof=1) / 4
    assert noises.least_sure_db(16, 3.0) == pytest.approx(32.04 - 3 * error_db, abs=0.05)
    assert noises.least_sure_db(16, 0.0) == noises.db_of([1])
